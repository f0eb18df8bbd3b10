// Package position remembers how far each partition is known to be in MySQL, for those who wait for a commit and for those who
// need a lower bound of it. It is told by the commits of this process and by the owners' announcements; it never asks. What it says
// is a hint and can be late: the truth is the partition's row in MySQL.
package position
