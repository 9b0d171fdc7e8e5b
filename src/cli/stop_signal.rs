//! When the process is told to end.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::failure::Failure;

/// Waits for Ctrl-C, or the signal that a service manager sends.
pub(super) async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

/// The signals of a service, waited for in a thread of their own. It also ends the process when
/// that has not ended by itself some time after it was told to: nothing that works can keep it.
pub(super) struct StopSignals {
    count: watch::Receiver<u32>,
}

impl StopSignals {
    /// Waits from now on; after the first signal the process ends within `end_after`.
    pub(super) fn start(end_after: Duration) -> Result<Self, Failure> {
        let (sender, count) = watch::channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Signals count from here on, not from when the thread first runs.
        let signals = {
            let _entered = runtime.enter();
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(count_signals(signals, &sender, end_after)))?;
        Ok(Self { count })
    }

    /// Until there were so many signals.
    pub(super) async fn told(&mut self, times: u32) {
        if self.count.wait_for(|count| *count >= times).await.is_err() {
            // There is no thread that waits for signals any more, and there will be none.
            std::future::pending::<()>().await;
        }
    }
}

async fn count_signals(
    [mut terminate, mut interrupt]: [Signal; 2],
    sender: &watch::Sender<u32>,
    end_after: Duration,
) {
    let end = tokio::time::sleep(Duration::MAX);
    tokio::pin!(end);
    loop {
        let told = async {
            tokio::select! {
                told = terminate.recv() => told,
                told = interrupt.recv() => told,
            }
        };
        tokio::select! {
            told = told => {
                // There will be no more of them.
                if told.is_none() {
                    return;
                }
                sender.send_modify(|count| *count += 1);
                if *sender.borrow() == 1 {
                    end.as_mut().reset(tokio::time::Instant::now() + end_after);
                }
            }
            () = &mut end => {
                let failure = Failure::running(
                    "error: the process did not end in time and is ended now; nothing is lost, \
                     each job goes on from its last epoch that was committed",
                );
                failure.report();
                std::process::exit(1);
            }
        }
    }
}
