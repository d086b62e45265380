//! Compressed upstreams.

use super::*;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use std::io::Write;

fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for part in parts {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// All that comes out, the largest piece of it, and how it ends.
fn decode(acts: Vec<Act>, coding: Coding) -> (Vec<u8>, usize, Result<(), SourceFailed>) {
    let world = World::default();
    let mut source = Decoded::new(Upstream::new(&world, acts), coding);
    let (mut all, mut largest) = (Vec::new(), 0);
    loop {
        match world.run(source.next()) {
            Ok(Some(bytes)) => {
                largest = largest.max(bytes.len());
                all.extend(bytes);
            }
            Ok(None) => return (all, largest, Ok(())),
            Err(failed) => return (all, largest, Err(failed)),
        }
    }
}

#[test]
fn codings_are_known_or_refused() {
    for (header, expected) in [
        (None, Ok(Coding::Identity)),
        (Some(""), Ok(Coding::Identity)),
        (Some("identity"), Ok(Coding::Identity)),
        (Some(" GZip "), Ok(Coding::Gzip)),
        (Some("x-gzip"), Ok(Coding::Gzip)),
        (Some("deflate"), Ok(Coding::Deflate)),
        (Some("br"), Err(UnsupportedCoding)),
        (Some("zstd"), Err(UnsupportedCoding)),
        (Some("gzip, br"), Err(UnsupportedCoding)),
    ] {
        assert_eq!(Coding::of(header), expected, "{header:?}");
    }
}

#[test]
fn every_flushed_event_comes_out_at_once() {
    let whole = gzip(&[ROLE.as_bytes(), HELLO.as_bytes()]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(ROLE.as_bytes()).unwrap();
    encoder.flush().unwrap();
    let first = encoder.get_ref().len();
    let (got, _, end) = decode(vec![say(&whole[..first]), Act::Break], Coding::Gzip);
    assert_eq!((got.as_slice(), end), (ROLE.as_bytes(), Err(SourceFailed::Broken("reset".into()))));
}

#[test]
fn what_is_not_as_it_says_is_refused() {
    let whole = gzip(&[ROLE.as_bytes()]);
    let mut wrong_sum = whole.clone();
    wrong_sum[whole.len() - 6] ^= 1;
    for (what, body) in [
        ("no gzip at all", ROLE.as_bytes().to_vec()),
        ("cut short", whole[..whole.len() - 9].to_vec()),
        ("cut in the checksum", whole[..whole.len() - 1].to_vec()),
        ("the wrong checksum", wrong_sum),
    ] {
        let (_, _, end) = decode(vec![Act::Say(body)], Coding::Gzip);
        assert_eq!(end, Err(SourceFailed::Undecodable("gzip")), "{what}");
    }
    assert_eq!(decode(says(&["plain"]), Coding::Identity).0, b"plain");
}

#[test]
fn a_bomb_comes_out_in_bounded_pieces_and_meets_a_bound() {
    let bomb = gzip(&[&vec![b'x'; 64 << 20]]);
    assert!(bomb.len() < 80_000);
    let (all, largest, end) = decode(vec![Act::Say(bomb.clone())], Coding::Gzip);
    assert_eq!((all.len(), end), (64 << 20, Ok(())));
    assert!(largest <= 1032 * 256 + 32 * 1024, "{largest}");
    let world = World::default();
    let source = Decoded::new(Upstream::new(&world, [Act::Say(bomb)]), Coding::Gzip);
    let Err(failed) = world.run(open(source, 0, &OPTIONS, &world, &Heard::default())) else {
        panic!("64 MB pass")
    };
    assert_eq!(failed.failure, Failure::TooLarge { max_bytes: OPTIONS.limits.max_event_bytes });
}

#[test]
fn a_compressed_stream_is_relayed_like_any_other() {
    let parts = [ROLE, HELLO, STOP, DONE].map(str::as_bytes);
    for take in [usize::MAX, 1, 7] {
        let body = gzip(&parts);
        let world = World::default();
        let mut client = Client::new(&world);
        let acts: Vec<Act> = body.chunks(take.min(body.len())).map(say).collect();
        let source = Decoded::new(Upstream::new(&world, acts), Coding::Gzip);
        let report = world.run(async {
            let first = open(source, 0, &OPTIONS, &world, &Heard::default()).await.ok();
            relay(std::future::ready(first), &mut NoResume::default(), &mut client, &OPTIONS, &world).await
        });
        assert_eq!((report.end, client.text()), (End::Complete, [ROLE, HELLO, STOP, DONE].concat()));
    }
}

proptest! {
    #[test]
    fn what_went_in_comes_out(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..8),
        cut in 1usize..200,
        members in any::<bool>(),
    ) {
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let body = if members { slices.iter().flat_map(|part| gzip(&[part])).collect() } else { gzip(&slices) };
        let (got, _, end) = decode(body.chunks(cut).map(say).collect(), Coding::Gzip);
        prop_assert_eq!(got, parts.concat());
        prop_assert!(end.is_ok() || body.is_empty());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&parts.concat()).unwrap();
        let body = encoder.finish().unwrap();
        let (got, _, end) = decode(body.chunks(cut).map(say).collect(), Coding::Deflate);
        prop_assert_eq!((got, end), (parts.concat(), Ok(())));
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        let body = if magic { [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &body].concat() } else { body };
        let _ = decode(vec![say(body.clone())], Coding::Gzip);
        let _ = decode(vec![say(body)], Coding::Deflate);
    }
}
