//! The concepts of a report (PS3.16).

use super::super::derived::Code;

pub const MEASUREMENT_REPORT: Code = Code::dcm("126000", "Imaging Measurement Report");
pub const LANGUAGE: Code = Code::dcm("121049", "Language of Content Item and Descendants");
pub const ENGLISH: Code = Code { value: "en", scheme: "RFC5646", meaning: "English" };
pub const OBSERVER_TYPE: Code = Code::dcm("121005", "Observer Type");
pub const DEVICE: Code = Code::dcm("121007", "Device");
pub const DEVICE_UID: Code = Code::dcm("121012", "Device Observer UID");
pub const DEVICE_NAME: Code = Code::dcm("121013", "Device Observer Name");
pub const DEVICE_MANUFACTURER: Code = Code::dcm("121014", "Device Observer Manufacturer");
pub const DEVICE_MODEL: Code = Code::dcm("121015", "Device Observer Model Name");
pub const PROCEDURE_REPORTED: Code = Code::dcm("121058", "Procedure reported");
pub const ULTRASONOGRAPHY: Code = Code::sct("16310003", "Ultrasonography");
pub const IMAGE_LIBRARY: Code = Code::dcm("111028", "Image Library");
pub const IMAGE_LIBRARY_GROUP: Code = Code::dcm("126200", "Image Library Group");
pub const IMAGING_MEASUREMENTS: Code = Code::dcm("126010", "Imaging Measurements");
pub const MEASUREMENT_GROUP: Code = Code::dcm("125007", "Measurement Group");
pub const TRACKING_IDENTIFIER: Code = Code::dcm("112039", "Tracking Identifier");
pub const TRACKING_UID: Code = Code::dcm("112040", "Tracking Unique Identifier");
pub const FINDING_CATEGORY: Code = Code::sct("276214006", "Finding category");
pub const FINDING: Code = Code::dcm("121071", "Finding");
pub const PRESENCE: Code = Code::dcm("121052", "Presence of property");
pub const ABSENT: Code = Code::sct("272519000", "Absent");
pub const ALGORITHM_NAME: Code = Code::dcm("111001", "Algorithm Name");
pub const ALGORITHM_VERSION: Code = Code::dcm("111003", "Algorithm Version");
pub const SEGMENTATION_FRAME: Code = Code::dcm("121214", "Referenced Segmentation Frame");
pub const SOURCE_OF_SEGMENTATION: Code = Code::dcm("121233", "Source image for segmentation");
pub const SOURCE_OF_MEASUREMENT: Code = Code::dcm("121112", "Source of Measurement");
pub const AREA: Code = Code::sct("42798000", "Area");
pub const LONG_AXIS: Code = Code::sct("103339001", "Long Axis");
pub const SHORT_AXIS: Code = Code::sct("103340004", "Short Axis");
pub const MM: Code = Code::ucum("mm", "millimeter");
pub const MM2: Code = Code::ucum("mm2", "square millimeter");
