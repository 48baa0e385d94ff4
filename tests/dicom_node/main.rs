//! The command `dicom-node`: it receives, segments and sends on to another node, which here is this command again.

use causalclipseg::io::dicom::DicomClip;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, OpenFileOptions};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

const PROMPT: &str = "a nodule";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causalclipseg"));
    command.env("RUST_LOG", "warn");
    command
}

/// Writes a grey ultrasound image with a dark spot; with the size of its pixels, in millimetres, if `mm` is given.
fn write_image(path: &Path, instance: &str, mm: Option<&str>) {
    let (width, height) = (96u16, 64u16);
    let spot = |x: i32, y: i32| if (x - 40).pow(2) + (y - 30).pow(2) < 150 { 20u8 } else { 130 };
    let pixels: Vec<u8> = (0..i32::from(height)).flat_map(|y| (0..i32::from(width)).map(move |x| spot(x, y))).collect();
    let mut object = InMemDicomObject::from_element_iter([
        DataElement::new(tags::SOP_CLASS_UID, VR::UI, uids::ULTRASOUND_IMAGE_STORAGE),
        DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, instance),
        DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.1"),
        DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.2"),
        DataElement::new(tags::PATIENT_NAME, VR::PN, "DOE^JANE"),
        DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(pixels)),
    ]);
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, height),
        (tags::COLUMNS, width),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    if let Some(mm) = mm {
        object.put(DataElement::new(tags::PIXEL_SPACING, VR::DS, format!("{mm}\\{mm}")));
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

/// A running node, and its messages.
struct Node {
    child: Child,
    address: String,
    _errors: BufReader<ChildStderr>,
}

impl Node {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["dicom-node", "--aet", "NODE", "--port", "0", "--bind", "127.0.0.1", "-p", PROMPT])
            .args(arguments);
        command.arg("--queue").arg(folder.join("queue"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        let address = line.strip_prefix("NODE is listening on ").unwrap_or_else(|| panic!("{line}")).trim().to_string();
        Self { child, address, _errors: errors }
    }

    fn summary(mut self) -> Value {
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        serde_json::from_str(&output).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn finished(arguments: &[&str]) -> Output {
    command().arg("dicom-node").args(arguments).output().unwrap()
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// The results that wait in a queue, by the instance that they are about.
fn results(queue: &Path, instance: &str) -> Vec<PathBuf> {
    let folder = queue.join("ready").join(instance);
    names(&folder).iter().filter(|name| name.ends_with(".dcm")).map(|name| folder.join(name)).collect()
}

#[test]
fn watched_images_become_the_objects_that_segment_writes() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    write_image(&inbox.join("one.dcm"), "1.2.3.4", Some("0.2"));
    write_image(&inbox.join("two.dcm"), "1.2.3.5", None);
    fs::write(inbox.join("notes.dcm"), "no image").unwrap();
    // Nobody is there: the results wait in the queue.
    let watch = inbox.to_string_lossy().into_owned();
    let node = Node::start(
        folder.path(),
        &[
            "--send",
            "ARCHIVE@127.0.0.1:1",
            "--watch",
            &watch,
            "--settle-s",
            "1",
            "--threshold",
            "0.1",
            "--format",
            "json",
        ],
    );
    let queue = folder.path().join("queue");
    wait_for("segmentation", || names(&queue.join("ready")).len() == 2);
    let written = results(&queue, "1.2.3.4");
    assert_eq!((written.len(), results(&queue, "1.2.3.5").len()), (2, 1), "an SR needs millimetres");
    assert_eq!(names(&inbox.join("done")), ["one.dcm", "two.dcm"]);
    wait_for("the reason", || names(&inbox.join("failed")) == ["notes.dcm", "notes.dcm.reason.txt"]);

    // The same pixels as the command `segment` writes.
    let out = folder.path().join("out");
    let segmented = command()
        .arg("segment")
        .arg(inbox.join("done/one.dcm"))
        .args(["-p", PROMPT, "--threshold", "0.1", "--format", "dicom-seg,dicom-sr", "-o"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(segmented.status.success(), "{}", String::from_utf8_lossy(&segmented.stderr));
    let open = |path: &Path| OpenFileOptions::new().open_file(path).unwrap();
    let bytes = |path: &Path| open(path).element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert_eq!(bytes(&written[0]), bytes(&out.join("one_seg.dcm")));
    let text = |path: &Path, tag| open(path).element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_string();
    for (path, class) in written.iter().zip([uids::SEGMENTATION_STORAGE, uids::COMPREHENSIVE_SR_STORAGE]) {
        assert_eq!(text(path, tags::SOP_CLASS_UID), class);
        assert_eq!(text(path, tags::STUDY_INSTANCE_UID), "1.2.3.1");
        assert_eq!(text(path, tags::PATIENT_NAME), "DOE^JANE");
    }
    // The name in the queue is the instance's, which the reader finds in the file.
    let clip = DicomClip::open(&inbox.join("done/one.dcm")).unwrap();
    assert_eq!(clip.reference().instance_uid().as_deref(), Some("1.2.3.4"));

    #[cfg(unix)]
    {
        assert!(Command::new("kill").args(["-TERM", &node.child.id().to_string()]).status().unwrap().success());
        let summary = node.summary();
        assert_eq!((summary["received"].as_u64(), summary["processed"].as_u64()), (Some(2), Some(2)), "{summary}");
        assert_eq!((summary["failed"].as_u64(), summary["waiting"].as_u64()), (Some(1), Some(2)), "{summary}");
    }
}

#[test]
fn nodes_answer_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), &["--send", "ARCHIVE@127.0.0.1:1", "--allow", "CALLER"]);
    let echo = |aet: &str, to: &str| {
        let to = format!("{to}@{}", node.address);
        finished(&["--aet", aet, "--send", &to, "--echo", "-p", PROMPT])
    };
    let answered = echo("CALLER", "NODE");
    assert_eq!(answered.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&answered.stdout).ends_with(": answers\n"));
    for (aet, to, reason) in [("CALLER", "OTHER", "called AE title"), ("STRANGER", "NODE", "calling AE title")] {
        let refused = echo(aet, to);
        let error = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(reason), "{error}");
    }
    let gone = finished(&["--aet", "A", "--send", "X@127.0.0.1:1", "--echo", "-p", PROMPT]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("cannot connect to 127.0.0.1:1"));
}

#[test]
fn failures_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), &["--send", "ARCHIVE@127.0.0.1:1"]);
    let port = node.address.rsplit_once(':').unwrap().1;
    let queue = folder.path().join("queue").display().to_string();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    let base = ["--aet", "NODE", "--send", "X@localhost:1", "-p", PROMPT, "--bind", "127.0.0.1"];
    for (more, reason) in [
        (vec!["--port", port], "cannot be listened on"),
        (vec!["--port", "0", "--queue", &queue], "another node uses this queue"),
        (vec!["--port", "0", "--queue", &file], "the queue cannot be used"),
        (vec!["--watch", "/nowhere/at/all", "--queue", &file], "the queue cannot be used"),
    ] {
        let failed = finished(&[&base[..], &more].concat());
        let error = String::from_utf8(failed.stderr).unwrap();
        assert_eq!((failed.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.starts_with("error: ") && error.contains(reason), "{error}");
    }
    for wrong in [
        &["--aet", "A TITLE THAT IS TOO LONG", "--port", "0", "--send", "X@a:1", "-p", PROMPT][..],
        &["--aet", "A", "--port", "0", "--send", "X@a", "-p", PROMPT],
        &["--aet", "A", "--port", "0", "-p", PROMPT],
        &["--aet", "A", "--send", "X@a:1", "-p", PROMPT],
        &["--aet", "A", "--port", "0", "--send", "X@a:1"],
    ] {
        assert_eq!(finished(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
