//! Echo, storage, titles and classes.

use super::archive::{Archive, Options};
use super::*;
use crate::NetError;
use crate::command::{C_STORE_RQ, Command, SUCCESS, UNRECOGNIZED_OPERATION, WRONG_CLASS};

#[test]
fn instances_become_results_at_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::start(Options::default());
    let queue = folder.path().join("queue");
    let (node, address) = start(options(&queue, vec![archive.destination()]));
    let to_node = to("NODE", address);
    echo(&to_node).unwrap();

    // All classes, one of several data units, one that goes on the association of another.
    for (number, class) in crate::sop::ULTRASOUND.iter().enumerate() {
        let file = instance(folder.path(), class, &format!("1.2.{number}"), 400_000 * number);
        assert_eq!(send(&to_node, &file).unwrap(), SUCCESS, "{class}");
    }
    let mut association = open("MODALITY", &to_node, US).unwrap();
    for number in 10..12 {
        let file = instance(folder.path(), US, &format!("1.2.{number}"), 101);
        assert_eq!(crate::sender::store(&mut association, &file).unwrap(), Some(SUCCESS));
    }
    association.release().unwrap();
    wait_for("delivery", || node.statistics().done == 7);
    let results = archive.results();
    assert_eq!(results.len(), 14);
    assert!(results.values().all(|instances| instances.len() == 1), "{:?}", results.keys());
    assert_eq!(archive.stored().len(), 14);
    assert_eq!((archive.stored()[0].class.as_str(), archive.stored()[1].class.as_str()), (SEG, SR));
    assert_eq!(queued(&queue), Vec::<String>::new());

    // The same again is known.
    let again = instance(folder.path(), US, "1.2.0", 0);
    assert_eq!(send(&to_node, &again).unwrap(), SUCCESS);
    let statistics = node.stop();
    assert_eq!((statistics.received, statistics.duplicates, statistics.processed, statistics.sent), (7, 1, 7, 14));
    assert_eq!((statistics.done, statistics.waiting, statistics.failed, statistics.broken_associations), (7, 0, 0, 0));
    assert_eq!(archive.stored().len(), 14);
}

#[test]
fn data_sets_are_stored_as_they_were_sent() {
    struct Keep(PathBuf);
    impl Handler for Keep {
        fn process(&mut self, instance: &Path, _: &Path) -> Result<Vec<PathBuf>, HandlerError> {
            fs::copy(instance, &self.0).unwrap();
            Ok(Vec::new())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.dcm");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start(options(&folder.path().join("queue"), vec![]), Some(listener), Keep(kept.clone())).unwrap();
    let file = instance(folder.path(), US, "1.2.3", 1_000_001);
    assert_eq!(send(&to("NODE", node.address().unwrap()), &file).unwrap(), SUCCESS);
    wait_for("processing", || node.statistics().done == 1);
    let received = InstanceFile::open(&kept).unwrap();
    assert_eq!((received.sop_class.as_str(), received.sop_instance.as_str()), (US, "1.2.3"));
    assert_eq!(received.transfer_syntax, IMPLICIT);
    let bytes = |file: &InstanceFile| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file.data_set().unwrap(), &mut bytes).unwrap();
        bytes
    };
    assert_eq!(bytes(&received), bytes(&file));
}

#[test]
fn wrong_titles_and_classes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let callers = vec![title("MODALITY"), title("OTHER")];
    let (node, address) = start(NodeOptions { callers, ..options(&folder.path().join("queue"), vec![]) });
    let file = instance(folder.path(), US, "1.2.3", 0);
    let refused = |calling: &str, called: &str| match open(calling, &to(called, address), US) {
        Err(NetError::Rejected(reason)) => reason,
        other => panic!("{:?}", other.map(|_| "accepted")),
    };
    assert!(refused("MODALITY", "NOD").contains("called AE title"));
    assert!(refused("STRANGER", "NODE").contains("calling AE title"));
    assert_eq!(send(&to("NODE", address), &file).unwrap(), SUCCESS);
    assert_eq!(node.statistics().refused_associations, 2);

    // CT, and SEG, which this node itself sends.
    for class in [uids::CT_IMAGE_STORAGE, SEG, "9.9"] {
        let mut association = open("MODALITY", &to("NODE", address), class).unwrap();
        assert_eq!(association.contexts_of(class).count(), 0, "{class}");
        let file = instance(folder.path(), class, "1.2.4", 0);
        assert_eq!(crate::sender::store(&mut association, &file).unwrap(), None);
        association.release().unwrap();
    }
    // An encoding that the reader does not have.
    let video = Proposal { class: US.into(), transfer_syntax: uids::MPEG4HP41 };
    assert_eq!(connector("MODALITY").open(&to("NODE", address), &[video]).unwrap().contexts_of(US).count(), 0);
}

#[test]
fn an_instance_of_another_class_than_its_context_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = start(options(&folder.path().join("queue"), vec![]));
    let mut association = open("MODALITY", &to("NODE", address), US).unwrap();
    let context = association.contexts_of(US).next().unwrap().id;
    let request = |class: &str, instance: Option<&str>, message_id| Command {
        field: C_STORE_RQ,
        message_id,
        has_data: true,
        sop_class: Some(class.into()),
        sop_instance: instance.map(str::to_string),
        ..Command::default()
    };
    let data = || vec![1u8; 500_000];
    assert_eq!(
        association.ask(context, &request(SEG, Some("1.2.3"), 1), Some(&mut data().as_slice())).unwrap(),
        WRONG_CLASS
    );
    for instance in [None, Some("../../etc/passwd"), Some(".."), Some("")] {
        let status = association.ask(context, &request(US, instance, 2), Some(&mut data().as_slice())).unwrap();
        assert_eq!(status, 0xc000, "{instance:?}");
    }
    assert_eq!(association.ask(context, &request(US, Some("1.2.3"), 3), Some(&mut [].as_slice())).unwrap(), 0xc000);
    // A service that there is not: C-FIND.
    let find = Command { field: 0x0020, ..request(US, None, 4) };
    assert_eq!(association.ask(context, &find, Some(&mut data().as_slice())).unwrap(), UNRECOGNIZED_OPERATION);
    assert_eq!(
        association.ask(context, &request(US, Some("1.2.3"), 5), Some(&mut data().as_slice())).unwrap(),
        SUCCESS
    );
    association.release().unwrap();
    assert_eq!(node.statistics().refused, 6);
    wait_for("the failure", || node.statistics().waiting == 0);
    assert!(matches!(
        open("X", &to("NODE", address), US).unwrap().receive(Duration::from_millis(50)),
        Err(NetError::Timeout)
    ));
}

#[test]
fn archives_that_take_implicit_only_get_it() {
    struct Explicit;
    impl Handler for Explicit {
        fn process(&mut self, _: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
            use dicom_core::{DataElement, PrimitiveValue, VR};
            let object = dicom_object::InMemDicomObject::from_element_iter([
                DataElement::new(tags::SOP_CLASS_UID, VR::UI, PrimitiveValue::from(SEG)),
                DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, PrimitiveValue::from("1.2.9")),
                DataElement::new(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, PrimitiveValue::from("1.2.3")),
                DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(vec![1, 2, 3, 4].into())),
            ]);
            let meta = dicom_object::FileMetaTableBuilder::new().transfer_syntax(EXPLICIT);
            object.with_meta(meta).unwrap().write_to_file(out.join("x.dcm")).unwrap();
            Ok(vec![out.join("x.dcm")])
        }
    }
    for syntax in [EXPLICIT, IMPLICIT] {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::start(Options { transfer_syntaxes: vec![syntax.into()], ..Options::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = options(&folder.path().join("queue"), vec![archive.destination()]);
        let node = Node::start(options, Some(listener), Explicit).unwrap();
        send(&to("NODE", node.address().unwrap()), &instance(folder.path(), US, "1.2.3", 0)).unwrap();
        wait_for("delivery", || node.statistics().done == 1);
        let stored = archive.stored().remove(0);
        assert_eq!(stored.transfer_syntax, syntax);
        if syntax == IMPLICIT {
            let all = elements::elements(&stored.data).unwrap();
            assert_eq!(elements::text(&all, tags::SOP_INSTANCE_UID), Some("1.2.9"));
            assert_eq!(all.last().unwrap(), &(tags::PIXEL_DATA, &[1, 2, 3, 4][..]));
        }
    }
}
