//! The watched folder.

use super::archive::{Archive, Options};
use super::*;
use crate::node::WatchOptions;
use std::sync::Arc;

fn watch(folder: &Path) -> WatchOptions {
    let identify = |path: &Path| {
        InstanceFile::open(path).map(|file| file.sop_instance).map_err(|_| "not a DICOM file".to_string())
    };
    WatchOptions {
        folder: folder.into(),
        settle: Duration::from_millis(300),
        interval: Duration::from_millis(20),
        identify: Arc::new(identify),
    }
}

#[test]
fn complete_files_are_taken_and_bad_ones_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    let archive = Archive::start(Options::default());
    let options = options(&folder.path().join("queue"), vec![archive.destination()]);
    let node = Node::start(NodeOptions { watch: Some(watch(&inbox)), ..options }, None, TwoResults).unwrap();
    // Written beside and renamed, as programs should.
    write_instance(&inbox.join("one.dcm.part"), US, "1.2.1", "", 1000);
    fs::create_dir(inbox.join("folder.dcm")).unwrap();
    fs::write(inbox.join("notes.txt"), "no image").unwrap();
    fs::write(inbox.join("empty.dcm"), "").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/hostname", inbox.join("link.dcm")).unwrap();
    // Written slowly: for longer than it takes a file to settle.
    write_instance(&folder.path().join("slow"), US, "1.2.2", "", 100_000);
    let slow = fs::read(folder.path().join("slow")).unwrap();
    let mut file = fs::File::create(inbox.join("slow.dcm")).unwrap();
    for piece in slow.chunks(10_000) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert!(inbox.join("slow.dcm").exists(), "taken while it was written");
    }
    drop(file);
    fs::rename(inbox.join("one.dcm.part"), inbox.join("one.dcm")).unwrap();
    wait_for("delivery", || node.statistics().done == 2);
    wait_for("the others", || node.statistics().failed == 2);
    assert_eq!(names(&inbox.join("done")), ["one.dcm", "slow.dcm"]);
    wait_for("reasons", || {
        names(&inbox.join("failed")) == ["empty.dcm", "empty.dcm.reason.txt", "notes.txt", "notes.txt.reason.txt"]
    });
    assert_eq!(fs::read_to_string(inbox.join("failed/notes.txt.reason.txt")).unwrap(), "not a DICOM file\n");
    let left: Vec<String> = names(&inbox).into_iter().filter(|name| name != "link.dcm").collect();
    assert_eq!(left, ["done", "failed", "folder.dcm"]);
    assert_eq!(archive.results().len(), 4);

    // The same again: known, and its file does not replace the first.
    write_instance(&folder.path().join("x"), US, "1.2.1", "", 1000);
    fs::rename(folder.path().join("x"), inbox.join("one.dcm")).unwrap();
    wait_for("the duplicate", || node.statistics().duplicates == 1);
    wait_for("its file", || names(&inbox.join("done")).contains(&"1-one.dcm".to_string()));
    assert_eq!(node.stop().received, 2);
}

#[test]
fn files_wait_while_the_queue_has_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    let archive = Archive::start(Options::default());
    let queue = folder.path().join("queue");
    let options = options(&queue, vec![archive.destination()]);
    let node = Node::start(NodeOptions { watch: Some(watch(&inbox)), ..options }, None, TwoResults).unwrap();
    fs::remove_dir(queue.join("incoming")).unwrap();
    fs::write(queue.join("incoming"), "in the way").unwrap();
    write_instance(&inbox.join("one.dcm"), US, "1.2.1", "", 1000);
    std::thread::sleep(Duration::from_millis(800));
    assert!(inbox.join("one.dcm").exists());
    fs::remove_file(queue.join("incoming")).unwrap();
    fs::create_dir(queue.join("incoming")).unwrap();
    wait_for("delivery", || node.statistics().done == 1);
}
