package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// mask stands wherever a secret would.
const mask = "******"

// Secret is a string that no formatter, encoder or logger shows; Reveal is the only way to it.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret, telling only whether there is one.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format hides the secret from every verb; those that do not ask for String, like %d, would print it in their complaint.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = strconv.Quote(text)
	}
	_, _ = io.WriteString(f, text)
}

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// Bytes is a size: 1048576, 1MiB or 1 MB; binary and decimal units mean what they say.
type Bytes int64

// String writes the size exactly, in the largest binary unit that divides it.
func (b Bytes) String() string {
	n, unit := int64(b), 0
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

// MarshalText is String, so that what is printed can be read back.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a number of bytes with or without a unit.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("parse size %q: want a number of bytes or a unit, like 1048576 or 16MiB", text)
	}
	if n > math.MaxInt64 {
		return errors.New("parse size: more than 8EiB")
	}
	*b = Bytes(n)
	return nil
}
