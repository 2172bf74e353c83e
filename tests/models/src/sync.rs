//! Loom's locks and atomics in place of std's; what the engine has as `src/sync.rs`.

pub(crate) use loom::sync::{Mutex, MutexGuard, RwLock};

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
