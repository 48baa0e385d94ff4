//! The command `dicom-node`.
