//! How rows, envelopes and ciphertexts are put into bytes: fixed-width numbers with the high byte
//! first, and byte strings after their length as two bytes. The first byte is the version.

/// Most of what is written is within so many bytes, and is written without its buffer growing.
const USUAL_LEN_BYTES_MAX: usize = 192;

/// Writes fields one after the other.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// Begins with the version byte.
    pub(crate) fn new(version: u8) -> Self {
        let mut bytes = Vec::with_capacity(USUAL_LEN_BYTES_MAX);
        bytes.push(version);
        Self(bytes)
    }

    pub(crate) fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    pub(crate) fn u32(self, number: u32) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    pub(crate) fn u64(self, number: u64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    pub(crate) fn i64(self, number: i64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Bytes whose number the format fixes.
    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes after their length. Every caller has checked that there are fewer than 65,536.
    pub(crate) fn counted(self, bytes: &[u8]) -> Self {
        let len_bytes = u16::try_from(bytes.len()).expect("the length was checked before");
        self.fixed(&len_bytes.to_be_bytes()).fixed(bytes)
    }

    /// Bytes after their length as four bytes. Every caller has fewer than 2^32.
    pub(crate) fn long(self, bytes: &[u8]) -> Self {
        let len_bytes = u32::try_from(bytes.len()).expect("nothing of such a length is stored");
        self.u32(len_bytes).fixed(bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads fields one after the other; each is `None` when the bytes are too few.
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Begins after the version byte, which must be `version`.
    pub(crate) fn new(bytes: &'a [u8], version: u8) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        (*first == version).then_some(Self(rest))
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let len_bytes = usize::from(u16::from_be_bytes(self.fixed()?));
        let (bytes, rest) = self.0.split_at_checked(len_bytes)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn long(&mut self) -> Option<&'a [u8]> {
        let len_bytes = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len_bytes)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.counted()?)
            .ok()
            .map(ToOwned::to_owned)
    }

    /// What is left, all of it.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// `value`, when nothing is left over.
    pub(crate) fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
