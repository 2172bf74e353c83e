//! The C ABI as C sees it: the header is fresh, the symbols are the contract's, the layouts agree.

mod build;
mod dependencies;
mod header;
mod hosts;
mod layout;
mod symbols;
