package ext4

import (
	"bytes"
	"testing"
	"time"
)

// TestHarmless has what looks odd, but means nothing: e2fsck calls it clean, the kernel
// mounts it, and it is signed.
func TestHarmless(t *testing.T) {
	bare := bareImage(t)
	plain := "^metadata_csum,^uninit_bg,^has_journal,^resize_inode"
	for _, c := range []struct {
		name  string
		image func(t *testing.T) memory
	}{
		{"revision 0", func(t *testing.T) memory { return smallImage(t, "-t", "ext2", "-r", "0", "-O", "none") }},
		{"inodes as large as blocks", func(t *testing.T) memory { return smallImage(t, "-I", "1024") }},
		{"inodes of 4096 bytes", func(t *testing.T) memory {
			return fileOf(t, makeImage(t, tree(t), "96M", "-t", "ext4", "-b", "4096", "-I", "4096", "-N", "2048"))
		}},
		{"part of a cluster", func(t *testing.T) memory {
			m := clusterImage(t)
			patch(m, put32(sbBlocksCountLo, 4095))
			return m
		}},
		{"quota files of no feature", func(t *testing.T) memory { // as go-diskfs makes them
			m := bytes.Clone(bare)
			patch(m, func(sb []byte) {
				put32(sbUserQuotaInum, 3)(sb)
				put32(sbGroupQuotaInum, 4)(sb)
				put32(sbProjectQuotaInum, 1<<20)(sb)
			})
			return m
		}},
		{"encrypt, which no file uses", func(t *testing.T) memory {
			m := smallImage(t)
			patch(m, set32(sbFeatureIncompat, 0x10000))
			return m
		}},
		{"casefold, which no directory uses", func(t *testing.T) memory {
			m := smallImage(t)
			patch(m, func(sb []byte) { set32(sbFeatureIncompat, 0x20000)(sb); put16(0x27c, 1)(sb) }) // s_encoding: UTF-8 12.1
			return m
		}},
		{"imagic, which no file uses", func(t *testing.T) memory {
			m := smallImage(t)
			patch(m, set32(sbFeatureCompat, 0x2))
			return m
		}},
		{"attribute twice, and one without an index", func(t *testing.T) memory {
			m := smallImage(t, "-I", "256", "-O", plain)
			l := newLiar(t, m)
			l.inode("/body", twice(1, "x"))(m)
			l.inode("/plain", twice(0, "x"))(m)
			return m
		}},
		{"orphan file of no feature", func(t *testing.T) memory {
			m := smallImage(t)
			patch(m, put32(sbOrphanFileInum, 1<<20))
			return m
		}},
		{"project quotas without projects", func(t *testing.T) memory {
			m := quotaImage(t, "-O", "quota,project", "-E", allQuotas)
			patch(m, clear32(sbFeatureROCompat, roProject))
			return m
		}},
		{"entries of the resize inode", func(t *testing.T) memory { // as make_ext4fs leaves them
			m := memory(bytes.Clone(bare))
			l := newLiar(t, m)
			in := inode(t, l.fs, inoResize)
			list := l.at(m, in.doubleIndirect())
			at := 4 * (l.fs.sb.descBlocks() + l.fs.sb.reservedGDT)
			copy(list[at:][:4], list[4*l.fs.sb.descBlocks():])
			l.number(inoResize, add32(inBlocksLo, 2))(m)
			return m
		}},
		{"journal with a name", func(t *testing.T) memory { // as tune2fs -j makes it while it is mounted
			m := oddImage(t, "-t", "ext3", "-I", "128")
			l := newLiar(t, m)
			journal := inode(t, l.fs, inoJournal)
			l.inode("/dir/last", func(raw []byte) { copy(raw, journal.raw) })(m)
			l.number(inoJournal, func(raw []byte) { clear(raw) })(m)
			patch(m, put32(sbJournalInum, lookup(t, l.fs, "/dir/last").Number))
			return m
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.image(t)
			if v := kernelVerdict(t, imageOf(t, m)); v.Against != "" && c.name != "casefold, which no directory uses" { // not every kernel can
				t.Error(v.Against)
			}
			signClean(t, m)
		})
	}
	for name, os := range map[string]uint32{"Hurd": osHurd, "Masix": 2, "FreeBSD": 3, "Lites": 4, "nobody": 77} {
		t.Run("made for "+name, func(t *testing.T) {
			m := smallImage(t, "-I", "128", "-O", plain)
			patch(m, put32(sbCreatorOS, os))
			fs, l := mustCheck(t, m)
			before := inode(t, fs, l.Files[0].Inode.Number)
			now := time.Unix(1700000000, 0)
			fsckMemory(t, m)
			commit(t, stage(t, l, EditOptions{DropEVM: true, Time: &now}, 265), m)
			fs, _ = mustCheck(t, m)
			after := inode(t, fs, before.Number)
			if same := bytes.Equal(before.raw[inVersionLo:][:4], after.raw[inVersionLo:][:4]); same != (os == osHurd) {
				t.Errorf("the version of inode %d stays: %v", after.Number, same) // Hurd has a translator there
			}
		})
	}
}

// TestOnlyRead has features that let the kernel read, but not write.
func TestOnlyRead(t *testing.T) {
	for _, c := range []struct {
		name, want string
		edit       func(sb []byte)
	}{
		{"read-only", "marked read-only", set32(sbFeatureROCompat, roReadOnly)},
		{"unknown ro_compat", "unknown ro_compat features 0x40000000", set32(sbFeatureROCompat, 0x40000000)},
		{"unknown compat", "unknown compat features 0x20000000", set32(sbFeatureCompat, 0x20000000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := smallImage(t)
			patch(m, c.edit)
			if v := kernelVerdict(t, imageOf(t, m)); v.Against != "" {
				t.Error(v.Against)
			}
			fs, l := mustCheck(t, m)
			judged(t, m, fs.Writable(), c.want)
			if _, err := stage(t, l, EditOptions{DropEVM: true}, 265).Prepare(); err == nil {
				t.Error("it could be written to")
			}
		})
	}
}
