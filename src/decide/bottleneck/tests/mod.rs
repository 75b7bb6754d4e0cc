//! What is told in each situation, and when.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a simulation in floating point"
)]

mod forecasts;
mod matrix;
mod readings;
mod support;
mod world;
