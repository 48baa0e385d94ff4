//! Destinations that are away, refuse, or commit.

use super::archive::{Archive, Commits, Options};
use super::*;
use crate::command::SUCCESS;
use crate::node::Commitment;
use std::sync::Mutex;

fn asked(is_required: bool, patience: Duration, requests: u32) -> Commitment {
    Commitment::Asked { is_required, patience, requests }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_destination_that_is_away_gets_all_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let there = Archive::start(Options::default());
    let queue = folder.path().join("queue");
    let (node, at) = start(options(&queue, vec![to("ARCHIVE", address), there.destination()]));
    for number in 0..3 {
        send(&to("NODE", at), &instance(folder.path(), US, &format!("1.2.{number}"), 0)).unwrap();
    }
    wait_for("attempts", || node.statistics().retries >= 3);
    // One that is away does not hold up another.
    wait_for("the other's results", || node.statistics().sent == 6);
    assert_eq!((node.statistics().done, node.statistics().waiting), (0, 3));
    drop(node);
    let (node, _) = start(options(&queue, vec![to("ARCHIVE", address), there.destination()]));
    let archive = Archive::start_at(address, Options::default());
    wait_for("delivery", || node.statistics().done == 3);
    assert_eq!(archive.stored().len(), 6);
    assert_eq!(there.stored().len(), 6, "sent again after a restart");
    let sent = |archive: &Archive| {
        archive
            .stored()
            .into_iter()
            .map(|stored| (stored.instance, stored.data))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(sent(&archive), sent(&there));
}

#[test]
fn delays_double_up_to_the_longest() {
    let folder = tempfile::tempdir().unwrap();
    let away = to("ARCHIVE", free_address());
    let retry = [Duration::from_millis(20), Duration::from_millis(300)];
    let (node, at) = start(NodeOptions { retry, ..options(&folder.path().join("queue"), vec![away]) });
    send(&to("NODE", at), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    // 20 + 40 + 80 + 160 + 300 + 300 + 300 ms, and none of them in a tight loop.
    let retries = node.statistics().retries;
    assert!((3..=9).contains(&retries), "{retries}");
}

#[test]
fn results_that_are_refused_are_set_aside_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |stored: &archive::Stored, _| Some(if source_of(&stored.data) == "1.2.0" { 0xa900 } else { SUCCESS });
    let archive = Archive::start(Options { answer: Box::new(answer), ..Options::default() });
    let queue = folder.path().join("queue");
    let (node, at) = start(NodeOptions { refusals: 3, ..options(&queue, vec![archive.destination()]) });
    for number in 0..3 {
        send(&to("NODE", at), &instance(folder.path(), US, &format!("1.2.{number}"), 0)).unwrap();
    }
    wait_for("delivery", || node.statistics().done == 2 && node.statistics().failed == 1);
    assert_eq!(node.statistics().retries, 2);
    let failed = queue.join("failed/1.2.0");
    let reason = fs::read_to_string(failed.join("reason.txt")).unwrap();
    assert!(reason.contains("status A900") && reason.contains("ARCHIVE@"), "{reason}");
    drop(node);
    // As the documentation says: moved back, it is tried again with the same UIDs.
    let before = InstanceFile::open(&failed.join("001.dcm")).unwrap().sop_instance;
    fs::rename(&failed, queue.join("ready/1.2.0")).unwrap();
    let other = Archive::start(Options::default());
    let (node, _) = start(options(&queue, vec![other.destination()]));
    wait_for("delivery", || node.statistics().done == 1);
    assert_eq!(other.stored()[0].instance, before);
}

#[test]
fn an_archive_without_room_or_class_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let full = |_: &archive::Stored, seen| Some(if seen < 3 { 0xa700 } else { SUCCESS });
    let archive = Archive::start(Options { answer: Box::new(full), ..Options::default() });
    let no_reports = Archive::start(Options { classes: vec![SEG.into()], ..Options::default() });
    let queue = folder.path().join("queue");
    let both = vec![archive.destination(), no_reports.destination()];
    let (node, at) = start(NodeOptions { refusals: 2, ..options(&queue, both) });
    send(&to("NODE", at), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
    wait_for("the end", || node.statistics().failed == 1);
    let reason = fs::read_to_string(queue.join("failed/1.2.3/reason.txt")).unwrap();
    assert!(reason.contains("does not accept the class"), "{reason}");
    assert_eq!(no_reports.stored().len(), 1);
}

#[test]
fn instances_that_cannot_be_processed_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let queue = folder.path().join("queue");
    let (node, at) = start(options(&queue, vec![archive.destination()]));
    for name in ["1.2.666", "1.2.667", "1.2.1"] {
        assert_eq!(send(&to("NODE", at), &instance(folder.path(), US, name, 0)).unwrap(), SUCCESS);
    }
    wait_for("delivery", || node.statistics().done == 1 && node.statistics().failed == 2);
    assert_eq!(fs::read_to_string(queue.join("failed/1.2.666/reason.txt")).unwrap(), "no pixels\n");
    assert!(queue.join("failed/1.2.666/source.dcm").exists());
    assert!(fs::read_to_string(queue.join("failed/1.2.667/reason.txt")).unwrap().contains("report this"));
    assert_eq!(queued(&queue), Vec::<String>::new());
    assert!(!node.is_broken());
}

#[test]
fn what_passes_is_tried_again() {
    struct Twice(u32);
    impl Handler for Twice {
        fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
            self.0 += 1;
            if self.0 == 1 {
                Err(HandlerError::Later("the disk is full".into()))
            } else {
                TwoResults.process(instance, out)
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node =
        Node::start(options(&folder.path().join("queue"), vec![archive.destination()]), Some(listener), Twice(0))
            .unwrap();
    send(&to("NODE", node.address().unwrap()), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
    wait_for("delivery", || node.statistics().done == 1);
    assert_eq!((archive.stored().len(), node.statistics().failed), (2, 0));
}

#[test]
fn commitments_are_awaited() {
    // Reports on the same association, on another, and first a failure.
    for kind in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::start(Options { commits: Mutex::new(Commits::AtOnce), ..Options::default() });
        let commitment = asked(true, Duration::from_secs(20), 3);
        let queue = folder.path().join("queue");
        let (node, at) = start(NodeOptions { commitment, ..options(&queue, vec![archive.destination()]) });
        match kind {
            1 => *archive.commits() = Commits::Later(to("NODE", at)),
            2 => *archive.commits() = Commits::AtSecond(to("NODE", at)),
            _ => {}
        }
        send(&to("NODE", at), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
        wait_for("commitment", || node.statistics().done == 1);
        assert_eq!(node.statistics().committed, 2, "{kind}");
        let requests = archive.requests();
        assert_eq!((requests.len(), requests[0].kept.len()), (if kind == 2 { 2 } else { 1 }, 2));
        // Sent again with the same UIDs after the failure.
        assert_eq!(archive.stored().len(), if kind == 2 { 4 } else { 2 });
        assert!(archive.results().values().all(|instances| instances.len() == 1));
        assert_eq!(queued(&queue), Vec::<String>::new());
    }
}

#[test]
fn archives_without_commitment_or_reports_count_as_delivered_unless_it_is_required() {
    for commits in [Commits::Never, Commits::Silently] {
        let silent = matches!(commits, Commits::Silently);
        for is_required in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let archive = Archive::start(Options { commits: Mutex::new(commits.clone()), ..Options::default() });
            let commitment = asked(is_required, Duration::from_millis(200), 2);
            let refusals = 1;
            let queue = folder.path().join("queue");
            let (node, at) =
                start(NodeOptions { commitment, refusals, ..options(&queue, vec![archive.destination()]) });
            send(&to("NODE", at), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
            match (is_required, silent) {
                (false, _) => wait_for("the end", || node.statistics().done == 1),
                (true, false) => wait_for("the failure", || node.statistics().failed == 1),
                (true, true) => {
                    wait_for("requests", || archive.requests().len() == 4);
                    assert_eq!((node.statistics().done, node.statistics().failed), (0, 0));
                }
            }
            assert_eq!((archive.stored().len(), node.statistics().committed), (2, 0));
            if silent && !is_required {
                assert_eq!(archive.requests().len(), 2);
            }
        }
    }
}

#[test]
fn reports_by_others_and_on_nothing_are_answered_and_have_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options { commits: Mutex::new(Commits::Silently), ..Options::default() });
    let commitment = asked(true, Duration::from_secs(60), 1);
    let (node, at) =
        start(NodeOptions { commitment, ..options(&folder.path().join("queue"), vec![archive.destination()]) });
    send(&to("NODE", at), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
    wait_for("the request", || archive.requests().len() == 1);
    let mut report = archive.requests().remove(0);
    let transaction = std::mem::replace(&mut report.transaction, "2.25.1".into());
    archive.report(&to("NODE", at), &report);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((node.statistics().done, node.statistics().committed), (0, 0));
    report.transaction = transaction;
    archive.report(&to("NODE", at), &report);
    wait_for("commitment", || node.statistics().done == 1);
    archive.stop();
}
