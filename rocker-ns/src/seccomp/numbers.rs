//! The numbers of system calls by architecture.

use syscalls::{aarch64, arm, x86, x86_64};

use super::SeccompArchitecture;

/// What an x32 call has set in its number.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// From here on there are numbers that stand apart, such as those of ARM's own and the second block of x32. Nothing follows from
/// their height.
pub(super) const APART: u32 = 512;

/// The numbers of x86-64 that x32 does not have, or has a call of its own in place of.
const NOT_X32: &[u32] = &[
    13, 15, 16, 19, 20, 45, 46, 47, 54, 55, 59, 101, 127, 128, 129, 131, 134, 156, 174, 177, 178,
    180, 205, 206, 209, 211, 214, 215, 222, 236, 244, 246, 247, 273, 274, 278, 279, 295, 296, 297,
    299, 307, 310, 311, 322, 327, 328,
];

/// The calls of x32 whose arguments hold pointers, from 512 on.
const X32: &[&str] = &[
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// Those of ARM that are the architecture's own, and a second name of one.
const ARM: &[(u32, &str)] = &[
    (341, "sync_file_range2"),
    (0xf_0001, "breakpoint"),
    (0xf_0002, "cacheflush"),
    (0xf_0003, "usr26"),
    (0xf_0004, "usr32"),
    (0xf_0005, "set_tls"),
    (0xf_0006, "get_tls"),
];

/// Every known call of an architecture, in the order of the numbers. A number may have two names.
pub(super) fn all(architecture: SeccompArchitecture) -> Vec<(u32, &'static str)> {
    // The tables' own iterators stop short of the last call.
    macro_rules! table {
        ($table:ident) => {
            (0..=$table::Sysno::last().id().unsigned_abs())
                .filter_map(|number| Some((number, $table::Sysno::new(number as usize)?.name())))
        };
    }
    match architecture {
        SeccompArchitecture::X86_64 => table!(x86_64).collect(),
        SeccompArchitecture::X86 => table!(x86).collect(),
        SeccompArchitecture::Aarch64 => table!(aarch64).collect(),
        SeccompArchitecture::X32 => {
            let shared =
                table!(x86_64).filter(|(number, _)| NOT_X32.binary_search(number).is_err());
            let own = (APART..).zip(X32.iter().copied());
            shared
                .chain(own)
                .map(|(number, name)| (number | X32_BIT, name))
                .collect()
        }
        SeccompArchitecture::Arm => {
            let mut all: Vec<_> = table!(arm).chain(ARM.iter().copied()).collect();
            all.sort_by_key(|(number, _)| *number);
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_in_order_and_the_newest_is_among_them() {
        for architecture in [
            SeccompArchitecture::X86_64.family(),
            SeccompArchitecture::Aarch64.family(),
        ]
        .concat()
        {
            let all = all(architecture);
            assert!(all.is_sorted_by_key(|(number, _)| *number));
            assert!(all.iter().any(|(_, name)| *name == "file_setattr"));
        }
    }

    #[test]
    fn the_calls_of_x32_have_the_numbers_of_the_kernels_headers() {
        let all = all(SeccompArchitecture::X32);
        let number = |name: &str| {
            let found = all.iter().find(|(_, known)| *known == name);
            found.map(|(number, _)| number & !X32_BIT)
        };
        for (name, expected) in [
            ("read", 0),
            ("clone3", 435),
            ("rt_sigaction", 512),
            ("execve", 520),
            ("waitid", 529),
            ("setsockopt", 541),
            ("pwritev2", 547),
        ] {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        assert_eq!(number("set_thread_area"), None);
        assert!(NOT_X32.is_sorted());
        // Nothing is there twice, and nothing but what is obsolete is missing.
        let names: BTreeSet<_> = all.iter().map(|(_, name)| *name).collect();
        assert_eq!(names.len(), all.len());
        let of_64 = super::all(SeccompArchitecture::X86_64);
        let missing: Vec<_> = of_64
            .iter()
            .filter(|(_, name)| !names.contains(name))
            .map(|(_, name)| *name)
            .collect();
        let expected = [
            "uselib",
            "_sysctl",
            "create_module",
            "get_kernel_syms",
            "query_module",
            "nfsservctl",
            "set_thread_area",
            "get_thread_area",
            "epoll_ctl_old",
            "epoll_wait_old",
            "vserver",
        ];
        assert_eq!(missing, expected);
    }
}
