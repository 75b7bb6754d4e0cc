//! The data plane of Signalbox.
