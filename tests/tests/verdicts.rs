//! The real XDP object in the kernel, by BPF test-run: named frames and their verdicts.

use pxe_user::nic::programs::Programs;

#[test]
fn it_loads() {
    let mut programs = Programs::load(1, 16, 1500).unwrap();
    assert_eq!(programs.test_run(&[0; 64]).unwrap(), 2);
    println!("{:?}", programs.counters().unwrap());
}
