//! Which mounted file systems change a folder's time whenever a name in it changes.

use std::collections::HashSet;

/// Linux's own file systems do; those over a network or a program may not, or show it later. Btrfs is
/// left out: its folders are of other devices than its mounts.
const KEEP_TIMES: [&str; 7] = ["ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"];

/// The devices whose file systems do.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    devices: HashSet<u64>,
}

impl Mounts {
    /// Those of this system; none where it does not say.
    pub(super) fn of_system() -> Self {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&text)
    }

    /// See proc_pid_mountinfo(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn parse(text: &str) -> Self {
        let device = |line: &str| {
            let (mount, system) = line.split_once(" - ")?;
            let (major, minor) = mount.split(' ').nth(2)?.split_once(':')?;
            let kind = system.split(' ').next()?;
            let device = device(major.parse().ok()?, minor.parse().ok()?);
            KEEP_TIMES.contains(&kind).then_some(device)
        };
        Self { devices: text.lines().filter_map(device).collect() }
    }

    /// Whether the file system of `device` does.
    pub(super) fn keep_times(&self, device: u64) -> bool {
        self.devices.contains(&device)
    }
}

/// A device's number as `stat` gives it, see makedev(3).
fn device(major: u64, minor: u64) -> u64 {
    (major & 0xfff) << 8 | (major & !0xfff) << 32 | minor & 0xff | (minor & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn local_file_systems_are_known_by_their_device() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                    37 35 0:45 / /shared rw shared:7 - nfs4 host:/share rw\n\
                    38 35 259:300 / /a\\040b rw - xfs /dev/nvme0n1p1 rw\nno mount\n";
        let mounts = Mounts::parse(text);
        assert!(mounts.keep_times(device(98, 0)) && mounts.keep_times(device(259, 300)));
        assert!(!mounts.keep_times(device(0, 45)));
    }

    #[test]
    fn a_device_is_numbered_as_the_system_numbers_it() {
        let shown = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let of_proc = std::fs::metadata("/proc").unwrap().dev();
        let line = shown.lines().find(|line| line.contains(" /proc ")).unwrap();
        let (major, minor) = line.split(' ').nth(2).unwrap().split_once(':').unwrap();
        assert_eq!(device(major.parse().unwrap(), minor.parse().unwrap()), of_proc);
    }
}
