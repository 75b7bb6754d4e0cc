//! Tables: one load, one size.
