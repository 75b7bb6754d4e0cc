//! What shards write to each other, in a region and between two: whatever comes is read or refused, and what is read is
//! written so that it is read as the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, body)) = input.split_first() else { return };
    signalbox_fuzz::check_body(kind, &Bytes::copy_from_slice(body));
});
