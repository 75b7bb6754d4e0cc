//! JSON bodies: a batch of one event is that event, and is refused when it is not one.
#![no_main]

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use libfuzzer_sys::fuzz_target;
use signalbox_dispatcher::event::{self, BATCH_JSON, STRUCTURED_JSON};

fuzz_target!(|input: &[u8]| {
    let of = |content_type| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    let one = event::parse(&of(STRUCTURED_JSON), input);
    if let Ok(event) = &one {
        signalbox_fuzz::check(event);
    }
    let batch = event::parse_all(&of(BATCH_JSON), &[b"[", input, b"]"].concat());
    match (one, batch) {
        (Ok(event), Ok(batch)) => assert_eq!(batch, [event]),
        (Ok(event), Err(refusal)) => panic!("{event:?} is refused in a batch: {refusal}"),
        // The input may be a list of events.
        (Err(_), Ok(batch)) => {
            assert_ne!(batch.len(), 1);
            batch.iter().for_each(signalbox_fuzz::check);
        }
        (Err(_), Err(_)) => {}
    }
    for event in event::parse_all(&of(BATCH_JSON), input).unwrap_or_default() {
        signalbox_fuzz::check(&event);
    }
});
