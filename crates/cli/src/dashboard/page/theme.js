// Light or dark: what the system says, until the reader chooses. Runs before the page is drawn, so it is no module.
(() => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  let chosen = null;
  try {
    chosen = localStorage.getItem('theme');
  } catch {
    // A browser may keep nothing.
  }
  const isDark = () => (chosen ? chosen === 'dark' : system.matches);

  const apply = () => {
    if (chosen) root.dataset.theme = chosen;
    document.getElementById('theme')?.setAttribute('aria-pressed', String(isDark()));
    document.dispatchEvent(new Event('themechange'));
  };

  apply();
  system.addEventListener('change', apply);
  document.addEventListener('DOMContentLoaded', () => {
    apply();
    document.getElementById('theme').addEventListener('click', () => {
      chosen = isDark() ? 'light' : 'dark';
      try {
        localStorage.setItem('theme', chosen);
      } catch {
        // Then it holds until the page is closed.
      }
      apply();
    });
  });
})();
