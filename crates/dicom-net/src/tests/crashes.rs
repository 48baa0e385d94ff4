//! A node that is killed at every point, and started again: each result arrives once, and nothing is lost.
//!
//! The node runs in a process of its own: this test program, told to run `child` alone.

use super::archive::{Archive, Commits, Options, Stored};
use super::*;
use crate::command::SUCCESS;
use crate::node::Commitment;
use rand_by_count::Dice;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

const FOLDER: &str = "DICOM_NET_TEST_FOLDER";
const ARCHIVE: &str = "DICOM_NET_TEST_ARCHIVE";
const STOP_AT: &str = "DICOM_NET_TEST_STOP_AT";
const COMMITS: &str = "DICOM_NET_TEST_COMMITS";

/// Stops for good at a point, once: there the test kills the process.
struct Stopping {
    folder: PathBuf,
    at: String,
}

impl Stopping {
    fn reach(&self, point: &str) {
        let mark = self.folder.join("stopped");
        if self.at == point && !mark.exists() {
            fs::write(&mark, "").unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

impl Handler for Stopping {
    fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
        self.reach("before");
        let results = TwoResults.process(instance, out)?;
        self.reach("after");
        Ok(results)
    }
}

#[test]
#[ignore = "the process that the other tests start"]
fn child() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let archive = std::env::var(ARCHIVE).unwrap().parse().unwrap();
    let at = std::env::var(STOP_AT).unwrap_or_default();
    let mut options = options(&folder.join("queue"), vec![archive]);
    options.queue.crashes = if at == "every time" { 3 } else { 1000 };
    if std::env::var_os(COMMITS).is_some() {
        options.commitment = Commitment::Asked { is_required: true, patience: Duration::from_secs(2), requests: 9 };
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handler: Box<dyn Handler> =
        if at == "every time" { Box::new(Ending) } else { Box::new(Stopping { folder: folder.clone(), at }) };
    let _node = Node::start(options, Some(listener), Boxed(handler)).unwrap();
    fs::write(folder.join("address.new"), address.to_string()).unwrap();
    fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

/// Ends the process on each instance whose UID ends in 13.
struct Ending;

impl Handler for Ending {
    fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
        if instance.to_string_lossy().ends_with(".13.dcm") {
            std::process::abort();
        }
        TwoResults.process(instance, out)
    }
}

struct Boxed(Box<dyn Handler>);

impl Handler for Boxed {
    fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
        self.0.process(instance, out)
    }
}

/// A node in a process.
struct Process {
    child: Arc<Mutex<Child>>,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path, archive: &Destination, stop_at: &str, commits: bool) -> Self {
        let _ = fs::remove_file(folder.join("address"));
        let child = Self::spawn(folder, archive, stop_at, commits);
        wait_for("the node's start", || folder.join("address").exists());
        let address = fs::read_to_string(folder.join("address")).unwrap().parse().unwrap();
        Self { child: Arc::new(Mutex::new(child)), address }
    }

    /// A process that may end before it listens.
    fn spawn(folder: &Path, archive: &Destination, stop_at: &str, commits: bool) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "tests::crashes::child"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.env(FOLDER, folder).env(ARCHIVE, archive.to_string()).env(STOP_AT, stop_at);
        if commits {
            command.env(COMMITS, "1");
        }
        command.spawn().unwrap()
    }

    fn to(&self) -> Destination {
        to("NODE", self.address)
    }

    /// SIGKILL on Unix.
    fn kill(&self) {
        kill(&self.child);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kill(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap();
    let _ = child.kill();
    let _ = child.wait();
}

/// Every source has one SEG and one SR, whatever was repeated on the way.
#[track_caller]
fn assert_each_once(archive: &Archive, sources: &[&str]) {
    let results = archive.results();
    let expected: BTreeSet<(String, String)> =
        sources.iter().flat_map(|source| [SEG, SR].map(|class| (source.to_string(), class.to_string()))).collect();
    assert_eq!(results.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (key, instances) in results {
        assert_eq!(instances.len(), 1, "{key:?} arrived as {:?}", instances.keys());
    }
}

#[track_caller]
fn wait_until_done(folder: &Path, count: usize) {
    let queue = folder.join("queue");
    let begun = Instant::now();
    loop {
        let (done, left) = (names(&queue.join("done")), queued(&queue));
        if done.len() == count && left.is_empty() {
            return;
        }
        let failed = names(&queue.join("failed"));
        assert!(begun.elapsed() < Duration::from_secs(30), "done {done:?}, left {left:?}, failed {failed:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn killed_after_success_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let file = instance(folder.path(), US, "1.2.3", 100_000);
    let process = Process::start(folder.path(), &archive.destination(), "before", false);
    assert_eq!(send(&process.to(), &file).unwrap(), SUCCESS);
    process.kill();
    let process = Process::start(folder.path(), &archive.destination(), "", false);
    // A modality that did not see the answer sends it again.
    assert_eq!(send(&process.to(), &file).unwrap(), SUCCESS);
    wait_until_done(folder.path(), 1);
    assert_eq!(send(&process.to(), &file).unwrap(), SUCCESS);
    std::thread::sleep(Duration::from_millis(300));
    assert_each_once(&archive, &["1.2.3"]);
    assert_eq!(archive.stored().len(), 2);
}

#[test]
fn killed_in_the_handler() {
    for point in ["before", "after"] {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::start(Options::default());
        let process = Process::start(folder.path(), &archive.destination(), point, false);
        for name in ["1.2.3", "1.2.4"] {
            assert_eq!(send(&process.to(), &instance(folder.path(), US, name, 10)).unwrap(), SUCCESS);
        }
        wait_for("the point", || folder.path().join("stopped").exists());
        process.kill();
        assert_eq!(archive.stored().len(), 0);
        let _process = Process::start(folder.path(), &archive.destination(), point, false);
        wait_until_done(folder.path(), 2);
        assert_each_once(&archive, &["1.2.3", "1.2.4"]);
        assert_eq!(archive.stored().len(), 4);
    }
}

#[test]
fn killed_while_an_instance_is_received() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let file = instance(folder.path(), US, "1.2.3", 40 << 20);
    let process = Process::start(folder.path(), &archive.destination(), "", false);
    let sent = {
        let (to, file) = (process.to(), file.clone());
        std::thread::spawn(move || send(&to, &file))
    };
    wait_for("reception", || !names(&folder.path().join("queue/incoming")).is_empty());
    process.kill();
    assert!(sent.join().unwrap().is_err());
    let process = Process::start(folder.path(), &archive.destination(), "", false);
    assert_eq!(queued(&folder.path().join("queue")), Vec::<String>::new());
    assert_eq!(send(&process.to(), &file).unwrap(), SUCCESS);
    wait_until_done(folder.path(), 1);
    assert_each_once(&archive, &["1.2.3"]);
}

/// The process to kill, once it runs.
type Target = Arc<Mutex<Option<Arc<Mutex<Child>>>>>;

/// An archive that kills the node when the `count`th result has arrived: before the answer, or just after it.
fn killing(count: usize, answers: bool) -> (Options, Target) {
    let target = Target::default();
    let in_answer = target.clone();
    let answer = move |_: &Stored, seen: usize| {
        if seen != count {
            return Some(SUCCESS);
        }
        let child = in_answer.lock().unwrap().take().unwrap();
        if answers {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                kill(&child);
            });
            return Some(SUCCESS);
        }
        kill(&child);
        None
    };
    (Options { answer: Box::new(answer), ..Options::default() }, target)
}

#[test]
fn killed_while_results_are_sent() {
    for (count, answers) in [(1, false), (1, true), (2, false), (2, true), (3, true)] {
        let folder = tempfile::tempdir().unwrap();
        let (options, target) = killing(count, answers);
        let archive = Archive::start(options);
        let process = Process::start(folder.path(), &archive.destination(), "", false);
        *target.lock().unwrap() = Some(process.child.clone());
        let _ = send(&process.to(), &instance(folder.path(), US, "1.2.3", 10));
        let second = send(&process.to(), &instance(folder.path(), US, "1.2.4", 10));
        wait_for("the kill", || process.child.lock().unwrap().try_wait().unwrap().is_some());
        let again = Process::start(folder.path(), &archive.destination(), "", false);
        if second.is_err() {
            send(&again.to(), &instance(folder.path(), US, "1.2.4", 10)).unwrap();
        }
        wait_until_done(folder.path(), 2);
        assert_each_once(&archive, &["1.2.3", "1.2.4"]);
        // What was answered is not sent again; what was not, once more.
        assert!(archive.stored().len() <= 5, "{}", archive.stored().len());
    }
}

#[test]
fn killed_while_a_commitment_is_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options { commits: Mutex::new(Commits::Silently), ..Options::default() });
    let process = Process::start(folder.path(), &archive.destination(), "", true);
    send(&process.to(), &instance(folder.path(), US, "1.2.3", 10)).unwrap();
    wait_for("the request", || archive.requests().len() == 1);
    process.kill();
    let process = Process::start(folder.path(), &archive.destination(), "", true);
    // The report on the first request, which the first process sent.
    archive.report(&process.to(), &archive.requests()[0]);
    wait_until_done(folder.path(), 1);
    assert_each_once(&archive, &["1.2.3"]);
    assert_eq!(archive.stored().len(), 2);
}

#[test]
fn killed_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let mut dice = Dice(7);
    let sources: Vec<String> = (0..12).map(|number| format!("1.2.{number}")).collect();
    let mut unsent: Vec<&String> = sources.iter().collect();
    let mut kills = 0;
    let mut process = Process::start(folder.path(), &archive.destination(), "", false);
    while !unsent.is_empty() || kills < 12 {
        let (child, delay) = (process.child.clone(), Duration::from_millis(dice.below(120)));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(delay);
            kill(&child);
        });
        // Like a modality, which repeats what was not answered.
        unsent.retain(|name| send(&process.to(), &instance(folder.path(), US, name, 200_000)).ok() != Some(SUCCESS));
        killer.join().unwrap();
        kills += 1;
        process = Process::start(folder.path(), &archive.destination(), "", false);
    }
    wait_until_done(folder.path(), sources.len());
    assert_each_once(&archive, &sources.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn an_instance_that_ends_the_process_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let process = Process::start(folder.path(), &archive.destination(), "every time", false);
    let _ = send(&process.to(), &instance(folder.path(), US, "1.2.13", 10));
    wait_for("the end", || process.child.lock().unwrap().try_wait().unwrap().is_some());
    for _ in 0..2 {
        let status = Process::spawn(folder.path(), &archive.destination(), "every time", false).wait().unwrap();
        assert!(!status.success());
    }
    let process = Process::start(folder.path(), &archive.destination(), "every time", false);
    assert_eq!(send(&process.to(), &instance(folder.path(), US, "1.2.4", 10)).unwrap(), SUCCESS);
    wait_until_done(folder.path(), 1);
    let reason = fs::read_to_string(folder.path().join("queue/failed/1.2.13/reason.txt")).unwrap();
    assert!(reason.contains("ended 3 times"), "{reason}");
    assert_each_once(&archive, &["1.2.4"]);
}

/// Numbers that are the same in each run.
mod rand_by_count {
    pub(super) struct Dice(pub u64);

    impl Dice {
        pub(super) fn below(&mut self, most: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % most
        }
    }
}
