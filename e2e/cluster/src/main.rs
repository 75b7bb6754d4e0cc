//! A real multi-node Kubernetes to test on.
fn main() {}
