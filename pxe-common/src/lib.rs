//! What both sides of the kernel boundary must agree on.
#![no_std]
