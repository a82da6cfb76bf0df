package volume

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// An ID is the name of a volume: the number of a partition ("2"), WholeDisk, or the group
// and the name of a logical volume ("vg/root"). The empty one names none.
type ID string

// WholeDisk is the disk itself.
const WholeDisk ID = "0"

// Partition names a partition by its number.
func Partition(number int) ID { return ID(strconv.Itoa(number)) }

// Logical names a logical volume.
func Logical(group, name string) ID { return ID(group + "/" + name) }

// Parse accepts one spelling for each volume only.
func Parse(text string) (ID, error) {
	if group, name, ok := strings.Cut(text, "/"); ok {
		for _, part := range []string{group, name} {
			if err := CheckName(part); err != nil {
				return "", fmt.Errorf("%q is not the name of a logical volume: %w", text, err)
			}
		}
		return ID(text), nil
	}
	if n, err := strconv.Atoi(text); err != nil || n < 0 || strconv.Itoa(n) != text {
		return "", fmt.Errorf("%q is neither the number of a partition nor the name of a logical volume", text)
	}
	return ID(text), nil
}

// maxName is NAME_LEN of LVM2, less the zero byte.
const maxName = 127

// CheckName tells what LVM2 would not take as the name of a group or of a volume.
func CheckName(name string) error {
	bad := func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+_.-", r))
	}
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name has 1 to %d characters", maxName)
	case name == "." || name == ".." || name[0] == '-' || strings.ContainsFunc(name, bad):
		return fmt.Errorf("%q is not a name", name)
	}
	return nil
}

// IsLogical tells logical volumes from partitions.
func (id ID) IsLogical() bool { return strings.Contains(string(id), "/") }

// Title is the volume as people call it: "partition 2", "volume vg/root".
func (id ID) Title() string {
	switch {
	case id == WholeDisk:
		return "the whole disk"
	case id.IsLogical():
		return "volume " + string(id)
	}
	return "partition " + string(id)
}

// Compare puts partitions into the order of their numbers, and logical volumes behind
// them.
func Compare(a, b ID) int {
	m, errA := strconv.Atoi(string(a))
	n, errB := strconv.Atoi(string(b))
	switch {
	case errA == nil && errB == nil:
		return cmp.Compare(m, n)
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return cmp.Compare(a, b)
}

// MarshalJSON gives a number for a partition, and a string for a logical volume.
func (id ID) MarshalJSON() ([]byte, error) {
	if _, err := Parse(string(id)); err != nil {
		return nil, err
	}
	if id.IsLogical() {
		return json.Marshal(string(id))
	}
	return []byte(id), nil
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (id *ID) UnmarshalJSON(b []byte) error {
	text := string(b)
	logical := strings.HasPrefix(text, `"`)
	if logical {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	parsed, err := Parse(text)
	if err == nil && parsed.IsLogical() != logical {
		err = fmt.Errorf("%s is not the name of a volume", b)
	}
	if err == nil {
		*id = parsed
	}
	return err
}
