//! How new events are led to regions: by weight, by phase, and no faster than capacity appears. Pure.

mod places;

pub(super) use places::{Claim, desired_places};
