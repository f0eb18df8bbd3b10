package mysqlstore

import (
	"encoding/hex"
	"strconv"
	"time"
)

// escapes gives for each byte the letter that follows a backslash in its stead, or 0. It is the set that the server's own
// mysql_real_escape_string has, but for the double quote: that means nothing within single ones, JSON is full of it, and the server undoes each.
// It is complete under the session of the store's connections: utf8mb4 has no character with a byte of this set in its tail, and sql_mode has no
// NO_BACKSLASH_ESCAPES.
var escapes = [256]byte{0: '0', '\n': 'n', '\r': 'r', '\\': '\\', '\'': '\'', 0x1a: 'Z'}

// appendString appends s as a string literal of SQL.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '\'')
	from := 0
	for i := range len(s) {
		if e := escapes[s[i]]; e != 0 {
			dst = append(dst, s[from:i]...)
			dst = append(dst, '\\', e)
			from = i + 1
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '\'')
}

// TIMESTAMP's range. A clock outside of it is the log server's fault, not the event's: the value is bent, not refused.
var (
	firstTime = time.Date(1970, 1, 1, 0, 0, 1, 0, time.UTC)
	lastTime  = time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC)
)

// appendTime appends t as a literal of SQL for a TIMESTAMP, in UTC and cut to the microsecond.
func appendTime(dst []byte, t time.Time) []byte {
	if t.Before(firstTime) {
		t = firstTime
	} else if t.After(lastTime) {
		t = lastTime
	}
	return appendDateTime(dst, t)
}

// appendLogged is appendTime of when an event was logged. One that never was has the zero time, and is of now, by the database's clock.
func appendLogged(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "UTC_TIMESTAMP(6)"...)
	}
	return appendTime(dst, t)
}

// appendPlaceTime appends when an event was logged, cut to the microsecond; NULL when it is not known.
func appendPlaceTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "NULL"...)
	}
	return appendDateTime(dst, t)
}

// appendDateTime appends t as a literal of SQL for a DATETIME, which has the years 1 to 9999, in UTC and cut to the microsecond.
func appendDateTime(dst []byte, t time.Time) []byte {
	t = t.UTC() // by hand: each row has its time, and a layout is parsed anew each time
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(append(dst, '\''), year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, ' '), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, '\'')
}

// appendDigits appends n, which has at most so many digits, with zeros before it.
func appendDigits(dst []byte, n, digits int) []byte {
	dst = append(dst, "000000"[:digits]...)
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// appendHex appends b as a literal of SQL that is a string of bytes.
func appendHex(dst, b []byte) []byte {
	dst = append(dst, "x'"...)
	dst = hex.AppendEncode(dst, b)
	return append(dst, '\'')
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
