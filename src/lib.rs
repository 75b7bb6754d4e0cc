//! The Signalbox operator.
