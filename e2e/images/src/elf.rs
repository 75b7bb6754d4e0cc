//! What a program file says of itself: which machine it is for, and whether it runs without a dynamic linker.
//!
//! Pure: bytes in, an answer out. Reads no more of the format than the two questions need.

use anyhow::{Context, Result, bail, ensure};

/// Asks for a dynamic linker. An image that holds only the program has none.
const PT_INTERP: u32 = 3;

/// The machine that a static program is for, as images name it: `amd64` or `arm64`.
///
/// # Errors
/// When the bytes are not a 64-bit little-endian ELF executable, when it needs a dynamic linker, or when it is for a
/// machine that no image is made for.
pub(crate) fn static_architecture(program: &[u8]) -> Result<&'static str> {
    ensure!(program.starts_with(b"\x7fELF"), "it is not a Linux program (ELF)");
    ensure!(program.get(4..6) == Some(&[2, 1]), "it is not a 64-bit little-endian program");
    let table = usize::try_from(u64::from_le_bytes(read(program, 32)?))?;
    let size = usize::from(u16::from_le_bytes(read(program, 54)?));
    let count = usize::from(u16::from_le_bytes(read(program, 56)?));
    for index in 0..count {
        let entry = index.checked_mul(size).and_then(|offset| offset.checked_add(table)).context("it is damaged")?;
        let kind = u32::from_le_bytes(read(program, entry)?);
        ensure!(kind != PT_INTERP, "it is not static: it asks for a dynamic linker, which the image does not have");
    }
    match u16::from_le_bytes(read(program, 18)?) {
        62 => Ok("amd64"),
        183 => Ok("arm64"),
        other => bail!("it is for ELF machine {other}; images are made for amd64 (62) and arm64 (183)"),
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().context("it is cut short")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest file that passes for a program: a header, and program headers of the kinds given.
    pub(crate) fn program(machine: u16, kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(kinds.len()).unwrap().to_le_bytes());
        for kind in kinds {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&[0; 52]);
        }
        bytes
    }

    #[test]
    fn a_static_program_says_which_machine_it_is_for() {
        assert_eq!(static_architecture(&program(62, &[1, 2, 1])).unwrap(), "amd64");
        assert_eq!(static_architecture(&program(183, &[])).unwrap(), "arm64");
    }

    #[test]
    fn a_program_that_needs_a_dynamic_linker_is_refused() {
        let message = static_architecture(&program(62, &[1, PT_INTERP])).unwrap_err().to_string();
        assert!(message.contains("not static"), "{message}");
    }

    #[test]
    fn the_dynamically_linked_test_program_itself_is_told_from_a_static_one() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let dynamic = !cfg!(target_feature = "crt-static");
        assert_eq!(static_architecture(&this).is_err(), dynamic);
    }

    #[test]
    fn what_is_no_program_or_for_another_machine_is_refused() {
        for (bytes, why) in [
            (b"#!/bin/sh".to_vec(), "not a Linux program"),
            (b"\x7fELF\x01\x01".to_vec(), "not a 64-bit"),
            (program(8, &[]), "machine 8"),
        ] {
            let message = static_architecture(&bytes).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn a_program_cut_short_anywhere_is_an_error_and_never_a_panic() {
        let whole = program(62, &[1, 2]);
        // The second header's kind ends at byte 124: from there on, all that is asked for is there.
        for length in 0..124 {
            assert!(static_architecture(&whole[..length]).is_err(), "{length}");
        }
        let mut far = program(62, &[1]);
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(static_architecture(&far).is_err());
    }
}
