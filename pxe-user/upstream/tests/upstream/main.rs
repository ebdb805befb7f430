//! Tests of images from elsewhere. `https` fetches from a server in this process that can also misbehave, `s3` from a real S3
//! server. Time is virtual: a test asks a source when it is due.

mod https;
mod peer;
mod s3;
mod support;
