// Package seal is a [client.Codec] that encrypts: states, frontiers and recorded I/O are readable in the worker, and nowhere else. Neither the
// log, nor persistd, nor MySQL, nor a backup of any of them has the keys.
//
//	keys, err := seal.ParseKeyset(os.Getenv("PERSISTD_SEAL_KEYS"))
//	codec, err := seal.New(keys)
//	st, err := client.Open[State](ctx, url, client.WithCodec(codec))
//
// # What it does
//
// A value is encrypted and authenticated with AES-256-GCM, under a key that HKDF makes of a secret of the keyset and 128 random bits of the
// value's own, and with a random nonce of 96 bits: however many values one secret seals, no nonce comes twice under one key. What is
// stored is a JSON object, whose members and blanks a database may rearrange:
//
//	{"persistd_sealed":{"v":1,"key":"2025-06","box":"<base64 of salt, nonce, ciphertext and tag>"}}
//
// The tag covers the place, too: the kind of value, the run's or checkpoint's id, the step, and the id of the key. A value that somebody
// moves to another step, run or kind is refused, as one is that was changed. So is one that is not sealed at all: see [AllowPlaintext].
//
// # What it does not
//
// Ids, node ids, labels, numbers, times and outbox events are not encrypted: keep secrets out of them. How long a value is can be seen. Who
// can write to the database can delete values, and can put back an older value of the same place; the log has the newer one as long as
// it reaches. Sealed values do not compress, and are a third larger than what they hold.
//
// # Keys
//
// The first key of the keyset seals, all of them open. To rotate:
//
//  1. add the new key after the first, everywhere: now every worker can open what it will seal;
//  2. make it the first, everywhere;
//  3. remove the old one when nothing that it sealed is left: when the runs of before are deleted, or were saved again.
//
// A secret that is lost is a state that is lost.
//
// The keyset has one more secret, for fingerprints, that stays when keys are rotated. Encryptions of equal values differ, so
// [client.Store.SaveCheckpointV2] cannot tell by them whether an idempotency key is used again with the same content. It tells by an HMAC of
// the value instead, of which only a hash over all of the save is stored. If that secret followed the rotation, a save that is repeated
// after it would be [client.ErrDuplicate], although it is the same. That is also all that happens when it has to be replaced: repeated saves
// of before are refused, and nothing is lost. Whoever has it, and the database, can test a guess of what was saved with a key; nobody can
// open anything with it.
package seal
