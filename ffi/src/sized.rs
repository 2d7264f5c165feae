//! Structs that cross by pointer and may grow: each starts with its size as the caller knows it.

use crate::error::{Outcome, invalid};

/// A struct whose first field is `uint32_t struct_size`, whose fields may all be zero, and which only ever grows at
/// its end.
///
/// # Safety
/// `#[repr(C)]`, first field a `u32` with that meaning, and all-zero bytes are a valid value.
pub(crate) unsafe trait Sized_: Copy {
    /// For errors.
    const NAME: &'static str;
    /// The size in the first version of the ABI.
    const FIRST_SIZE: usize;
}

/// Beyond this a size is taken for rubbish.
const LARGEST: usize = 4_096;

/// The size of a struct as its caller knows it.
///
/// # Safety
/// `ptr` is not NULL, and its first field can be read if it is aligned.
unsafe fn size_of_theirs<T: Sized_>(ptr: *const T) -> Outcome<usize> {
    if !ptr.is_aligned() {
        return Err(invalid(format!("{} is not aligned", T::NAME)));
    }
    // SAFETY: aligned, and the first field is there by the trait's promise.
    let theirs = unsafe { ptr.cast::<u32>().read() } as usize;
    if theirs < T::FIRST_SIZE || theirs > LARGEST {
        return Err(invalid(format!(
            "{}.struct_size must be sizeof({}); start from its _INIT macro",
            T::NAME,
            T::NAME
        )));
    }
    Ok(theirs)
}

/// Reads a caller's struct: what he does not know of is zero, what we do not know of must be zero.
///
/// # Safety
/// `ptr` is NULL, or as many bytes as its first field says can be read.
pub(crate) unsafe fn read<T: Sized_>(ptr: *const T) -> Outcome<Option<T>> {
    if ptr.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and promised by the caller.
    let theirs = unsafe { size_of_theirs(ptr) }?;
    let ours = size_of::<T>();
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both are good for the smaller of the two sizes, and they do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), theirs.min(ours));
    }
    for offset in ours..theirs {
        // SAFETY: within the size that the caller stated.
        if unsafe { ptr.cast::<u8>().add(offset).read() } != 0 {
            return Err(invalid(format!(
                "{} asks for something that only a newer libcentralita can do",
                T::NAME
            )));
        }
    }
    // SAFETY: zero or the caller's own values; all-zero is valid by the trait's promise.
    Ok(Some(unsafe { value.assume_init() }))
}

/// As [`read`], for a struct that must be there.
///
/// # Safety
/// As for [`read`].
pub(crate) unsafe fn read_required<T: Sized_>(ptr: *const T) -> Outcome<T> {
    // SAFETY: passed on.
    unsafe { read(ptr) }?.ok_or_else(|| invalid(format!("{} is NULL", T::NAME)))
}

/// Fills a caller's struct, as much of it as he knows; what we do not know of becomes zero.
///
/// # Safety
/// `ptr` is NULL, or as many bytes as its first field says can be read and written.
pub(crate) unsafe fn fill<T: Sized_>(ptr: *mut T, make: impl FnOnce(u32) -> Outcome<T>) -> Outcome<()> {
    if ptr.is_null() {
        return Err(invalid(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: not NULL, and promised by the caller.
    let theirs = unsafe { size_of_theirs(ptr) }?;
    let value = make(u32::try_from(theirs).unwrap_or(u32::MAX))?;
    let known = theirs.min(size_of::<T>());
    // SAFETY: both are good for `known` bytes and do not overlap; the rest is within what the caller stated.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), ptr.cast::<u8>(), known);
        std::ptr::write_bytes(ptr.cast::<u8>().add(known), 0, theirs - known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Grown {
        struct_size: u32,
        old: u32,
        new: u64,
    }

    // SAFETY: plain numbers.
    unsafe impl Sized_ for Grown {
        const NAME: &'static str = "grown";
        const FIRST_SIZE: usize = 8;
    }

    #[test]
    fn older_newer_and_wrong_sizes() {
        let read_as = |size: u32, rest: &[u64]| {
            let mut memory = vec![u64::from(size) | (7 << 32)];
            memory.extend_from_slice(rest);
            // SAFETY: `memory` has as many bytes as the sizes used below say.
            unsafe { read(memory.as_ptr().cast::<Grown>()) }.map(Option::unwrap)
        };
        let old = read_as(8, &[99]).unwrap();
        assert_eq!((old.old, old.new), (7, 0), "a caller of the first version has no `new`");
        let same = read_as(16, &[99]).unwrap();
        assert_eq!((same.struct_size, same.old, same.new), (16, 7, 99));
        assert_eq!(read_as(24, &[99, 0]).unwrap().new, 99);
        assert!(read_as(24, &[99, 1]).is_err(), "it asks for what we do not know");
        for wrong in [0, 1, 7, 4_097, u32::MAX] {
            assert!(read_as(wrong, &[0]).is_err());
        }
    }

    #[test]
    fn a_struct_is_filled_as_far_as_its_caller_knows_it() {
        let fill_as = |size: u32| {
            let mut memory = [u64::from(size), 77, 88];
            let make = |struct_size| Ok(Grown { struct_size, old: 7, new: 9 });
            // SAFETY: `memory` has as many bytes as the sizes used below say.
            unsafe { fill(memory.as_mut_ptr().cast::<Grown>(), make) }.map(|()| memory)
        };
        assert_eq!(fill_as(8).unwrap(), [8 | (7 << 32), 77, 88], "nothing beyond what he knows is touched");
        assert_eq!(fill_as(16).unwrap(), [16 | (7 << 32), 9, 88]);
        assert_eq!(fill_as(24).unwrap(), [24 | (7 << 32), 9, 0], "what we do not know of is zero");
        assert!(fill_as(7).is_err());
        // SAFETY: NULL is allowed.
        assert!(unsafe { fill::<Grown>(std::ptr::null_mut(), |_| Err(invalid("not reached"))) }.is_err());
    }
}
