//! The signals that ask a command to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ctrl-C, or the signal that a service manager sends.
pub(super) async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}
