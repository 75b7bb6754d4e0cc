//! Records of the log: whatever is on the disk is read as an event or refused, and what is read is written the same.
#![no_main]

use bytes::Bytes;
use http::Uri;
use libfuzzer_sys::fuzz_target;
use signalbox_dispatcher::event::{self, Event};

fuzz_target!(|input: &[u8]| {
    let Ok(event) = event::decode(Bytes::copy_from_slice(input)) else { return };
    let attributes: Vec<_> = event.attributes().collect();
    let again = Event::unchecked(&attributes, &event.data()).expect("what was read can be written");
    assert_eq!(again.record(), input);
    // It may not be a valid event, so it need not be deliverable: it must be said, and not in a panic.
    let _ = event::to_request(&event, &Uri::from_static("http://sink/"));
    let _ = (event.key(), event::identity(&event));
});
