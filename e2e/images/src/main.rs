//! Container images without a container engine.
fn main() {}
