//! Lines of text with colours, cut to the width of a terminal.

use std::fmt::Write as _;

/// How a piece of text looks. It says nothing that its text does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Bold,
    Dim,
    Good,
    Busy,
    Bad,
}

impl Look {
    /// Its escape sequence (ECMA-48's SGR).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[1;31m",
        }
    }
}

/// A line.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<(Look, String)>);

impl Line {
    /// Of one piece.
    pub(super) fn new(look: Look, text: impl Into<String>) -> Self {
        Self(vec![(look, text.into())])
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, look: Look, text: &str) {
        match self.0.last_mut() {
            Some((last, before)) if *last == look => before.push_str(text),
            _ => self.0.push((look, text.to_owned())),
        }
    }

    /// The text of at most so many columns. What others say may have anything in it, so whatever would move the
    /// cursor is shown as `?`.
    pub(super) fn text(&self, columns: usize, has_colours: bool) -> String {
        let width: usize = self.0.iter().map(|(_, text)| text.chars().count()).sum();
        let mut room = if width > columns { columns.saturating_sub(1) } else { columns };
        let mut text = String::new();
        for (look, piece) in &self.0 {
            let safe = |char: char| if char.is_control() { '?' } else { char };
            let piece: String = piece.chars().take(room).map(safe).collect();
            room -= piece.chars().count();
            if has_colours && *look != Look::Plain && !piece.is_empty() {
                let _ = write!(text, "{}{piece}\x1b[0m", look.code());
            } else {
                text += &piece;
            }
        }
        if width > columns && columns > 0 {
            text.push('…');
        }
        if has_colours { text } else { text.trim_end().to_owned() }
    }
}

/// A table whose columns are as wide as they have to be. Numbers stand to the right.
#[derive(Debug)]
pub(super) struct Table {
    /// Of each column its head, and whether it has numbers.
    columns: Vec<(&'static str, bool)>,
    rows: Vec<(Look, Vec<String>)>,
}

impl Table {
    /// An empty one. Heads that begin with `>` are those of numbers.
    pub(super) fn new(heads: &[&'static str]) -> Self {
        let column = |head: &&'static str| match head.strip_prefix('>') {
            Some(head) => (head, true),
            None => (*head, false),
        };
        Self { columns: heads.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub(super) fn push(&mut self, look: Look, cells: Vec<String>) {
        self.rows.push((look, cells));
    }

    /// Its lines: the head, and a line for each row.
    pub(super) fn lines(&self) -> Vec<Line> {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|(_, cells)| cells[index].chars().count());
            cells.max().unwrap_or(0).max(self.columns[index].0.chars().count())
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |look: Look, cells: Vec<&str>| {
            let cells = cells.iter().zip(&widths).zip(&self.columns);
            let told = cells.map(|((cell, &width), (_, is_number))| {
                if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            Line::new(look, told.collect::<Vec<_>>().join("  "))
        };
        let head = line(Look::Dim, self.columns.iter().map(|(head, _)| *head).collect());
        let rows = self
            .rows
            .iter()
            .map(|(look, cells)| line(*look, cells.iter().map(String::as_str).collect()));
        std::iter::once(head).chain(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_cannot_move_the_cursor() {
        let mut line = Line::new(Look::Plain, "ab");
        line.push(Look::Bad, "c\x1b[2Jd\n");
        assert_eq!(line.text(80, false), "abc?[2Jd?");
        assert_eq!(line.text(4, false), "abc…");
        assert_eq!(line.text(4, true), "ab\x1b[1;31mc\x1b[0m…");
        assert_eq!(line.text(0, false), "");
    }

    #[test]
    fn tables_are_as_wide_as_they_have_to_be() {
        let mut table = Table::new(&["name", ">n"]);
        table.push(Look::Plain, vec!["a longer one".to_owned(), "7".to_owned()]);
        table.push(Look::Plain, vec!["x".to_owned(), "1,000".to_owned()]);
        let text: Vec<String> = table.lines().iter().map(|line| line.text(80, false)).collect();
        assert_eq!(text, ["name              n", "a longer one      7", "x             1,000"]);
    }
}
