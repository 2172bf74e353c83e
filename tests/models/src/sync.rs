//! Loom's locks and atomics in place of std's; what the engine has as `src/sync.rs`.

pub(crate) use loom::sync::{Mutex, MutexGuard, RwLock};

/// Tokio's, with a step of loom's before each of its own: without one no other thread would ever come
/// between that and what stands before it.
#[derive(Debug)]
pub(crate) struct Notify {
    inner: tokio::sync::Notify,
    steps: atomic::AtomicUsize,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self { inner: tokio::sync::Notify::new(), steps: atomic::AtomicUsize::new(0) }
    }

    pub(crate) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.steps.fetch_add(1, atomic::Ordering::SeqCst);
        self.inner.notified()
    }

    pub(crate) fn notify_waiters(&self) {
        self.steps.fetch_add(1, atomic::Ordering::SeqCst);
        self.inner.notify_waiters();
    }
}

/// Atomics.
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::Ordering;
    use loom::sync::atomic::fence;

    /// An atomic whose operations have one order that all threads agree on, as `SeqCst` promises. Loom
    /// takes `SeqCst` for `AcqRel` and would report what cannot happen, but it knows such fences.
    #[derive(Debug)]
    pub(crate) struct AtomicUsize(loom::sync::atomic::AtomicUsize);

    macro_rules! operations {
        ($($name:ident($($value:ident)?)),*) => {
            $(pub(crate) fn $name(&self, $($value: usize,)? order: Ordering) -> usize {
                assert_eq!(order, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                let result = self.0.$name($($value,)? order);
                fence(Ordering::SeqCst);
                result
            })*
        };
    }

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> Self {
            Self(loom::sync::atomic::AtomicUsize::new(value))
        }

        operations!(load(), swap(value), fetch_add(value), fetch_sub(value));
    }
}
