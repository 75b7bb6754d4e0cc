//! Runs programs to their end, and turns a failure into an error that says what was run and what it said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A command whose child dies with the future that waits for it.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs `program` and returns its standard output; an error carries its standard error.
pub(crate) async fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[A]) -> Result<String> {
    let mut command = command(program);
    command.args(args);
    output(&mut command, None).await
}

/// Runs a prepared command, feeding it `input`.
pub(crate) async fn output(command: &mut Command, input: Option<&str>) -> Result<String> {
    let said = describe(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {said}"))?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that exits early closes the pipe; its exit status says more than ours would.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    finished(&said, &output.with_context(|| format!("cannot wait for {said}"))?)
}

fn finished(said: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    // Some programs explain themselves on standard output only.
    let why = if stderr.trim().is_empty() { stdout } else { stderr };
    bail!("{said}: {}: {}", output.status, why.trim())
}

/// The command as one would type it, shortened.
fn describe(command: &Command) -> String {
    const LONGEST: usize = 200;
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut said = std::iter::once(program)
        .chain(command.get_args().map(|arg| arg.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((end, _)) = said.char_indices().nth(LONGEST) {
        said.truncate(end);
        said.push('…');
    }
    format!("`{said}`")
}

/// Where `program` is on the search path, or in one of the places it is often left out of it.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    const OFTEN_MISSING: [&str; 4] = ["/usr/local/go/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(OFTEN_MISSING.map(Into::into))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_carries_what_the_program_said() {
        let error = run("sh", &["-c", "echo out; echo no such region >&2; exit 3"]).await.unwrap_err().to_string();
        assert!(error.contains("no such region") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn input_reaches_the_program() {
        let said = output(&mut command("cat"), Some("a manifest")).await.unwrap();
        assert_eq!(said, "a manifest");
    }

    #[test]
    fn a_program_that_is_not_installed_is_not_found() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }
}
