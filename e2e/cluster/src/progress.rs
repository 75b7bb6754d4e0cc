//! Shows what is being waited for: a spinner with the elapsed time on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two "still at it" lines where there is no terminal to animate.
const REMINDER: Duration = Duration::from_secs(30);

/// One display of progress, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    step: Mutex<(String, Instant)>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet, step: Mutex::new((String::new(), Instant::now())) }
    }

    /// What is being done from now on.
    pub(crate) fn step(&self, what: &str) {
        if let Ok(mut step) = self.step.lock() {
            *step = (what.to_owned(), Instant::now());
        }
        match &self.bar {
            Some(bar) => {
                bar.reset_elapsed();
                bar.set_message(what.to_owned());
            }
            None => self.line(what),
        }
    }

    /// Something that stays on the screen.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.line(text),
        }
    }

    /// Runs a long piece of work, and says now and then that it still runs.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(REMINDER, &mut work).await {
                Ok(done) => return done,
                Err(_) if self.bar.is_none() => self.remind(),
                Err(_) => {}
            }
        }
    }

    fn remind(&self) {
        let reminder = match self.step.lock() {
            Ok(step) => format!("{} (still, after {} s)", step.0, step.1.elapsed().as_secs()),
            Err(_) => return,
        };
        self.line(&reminder);
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // Progress that cannot be shown is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
