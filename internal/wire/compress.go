package wire

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The coders are safe for concurrent use and hold no goroutines when used on whole buffers; one of each serves the process.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(2))
		if err != nil {
			panic(fmt.Sprintf("assertion: zstd encoder options: %v", err))
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		// The memory limit is what bounds a decompression bomb.
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxBody), zstd.WithDecoderConcurrency(0))
		if err != nil {
			panic(fmt.Sprintf("assertion: zstd decoder options: %v", err))
		}
		return d
	})
)

// Compress returns b as a zstd frame.
func Compress(b []byte) []byte {
	return encoder().EncodeAll(b, make([]byte, 0, len(b)/2))
}

// Decompress returns what was compressed into the zstd frame b. The error, a *[Poison], says why that is not to be had: b is no
// frame, is damaged, or holds more than [MaxBody] bytes (of which no more than that is ever allocated).
func Decompress(b []byte) ([]byte, error) {
	plain, err := decoder().DecodeAll(b, nil)
	if err != nil {
		return nil, poisonf(CodeEncoding, "body does not decompress within %d bytes: %v", MaxBody, err)
	}
	return plain, nil
}
