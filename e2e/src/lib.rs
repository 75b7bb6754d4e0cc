//! The cluster harness, the story tests and the demo.
