// Package lvmtest writes physical volumes as LVM2 does, for tests. It shares no code with what it
// is to test.
package lvmtest
