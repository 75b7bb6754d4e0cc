//! Commands that break or mend something, made ahead: what mends must need nothing more than itself.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    words: Vec<String>,
    input: Option<String>,
}

impl Step {
    pub(crate) fn command(words: &[&str]) -> Self {
        Self { words: words.iter().map(|&word| word.to_owned()).collect(), input: None }
    }

    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    pub(crate) fn with_input(mut self, input: &str) -> Self {
        self.input = Some(input.to_owned());
        self
    }

    /// Its standard output, when it has ended well.
    pub(crate) fn output(&self) -> Result<String> {
        self.ended(self.start()?)
    }

    fn start(&self) -> Result<Child> {
        let (program, args) = self.words.split_first().context("a step without a command")?;
        let mut command = Command::new(program);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", self.words.join(" ")))?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), &self.input) {
            // One that ends early closes the pipe; its exit status says more than ours would.
            let _ = stdin.write_all(input.as_bytes());
        }
        Ok(child)
    }

    fn ended(&self, child: Child) -> Result<String> {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}`: {}: {}", self.words.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Takes all of them at once, each whatever becomes of the others. The first error is the answer.
pub(crate) fn all(steps: &[Step]) -> Result<()> {
    let started: Vec<_> = steps.iter().map(|step| (step, step.start())).collect();
    let ended: Vec<_> = started.into_iter().map(|(step, child)| step.ended(child?)).collect();
    ended.into_iter().try_for_each(|ended| ended.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_says_why_and_keeps_no_other_from_its_work() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("done");
        let fails = Step::command(&["sh", "-c", "cat >&2; exit 3"]).with_input("no such table");
        let works = Step::command(&["touch", &file.to_string_lossy()]);
        let error = all(&[fails, works]).unwrap_err().to_string();
        assert!(error.contains("no such table") && file.exists(), "{error}");
    }

    #[test]
    fn what_a_step_prints_is_its_output() {
        assert_eq!(Step::command(&["cat"]).with_input("two words").output().unwrap(), "two words");
    }
}
