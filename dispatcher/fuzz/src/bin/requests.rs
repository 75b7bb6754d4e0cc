//! Whole requests, in any mode: what is taken as an event is one, and stays the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signalbox_dispatcher::event;

fuzz_target!(|input: &[u8]| {
    let (headers, body) = signalbox_fuzz::request(input);
    let events = event::parse_all(&headers, &body).unwrap_or_default();
    events.iter().for_each(signalbox_fuzz::check);
    if let Ok(one) = event::parse(&headers, &body) {
        assert_eq!(events, [one]);
    }
});
