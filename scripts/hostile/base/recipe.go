package base

// A Recipe says how to make one kind of file system.
type Recipe struct {
	Name     string
	Size     string   // as mke2fs takes it
	Args     []string // of mke2fs
	Extended string   // its extended options
	Names    int      // in the large directory
	Deep     bool     // with files that need more levels of block maps
	MMP      bool     // multiple mount protection: every program then waits before it writes, so it comes last
	Disk     bool     // in a partition
	Sums     bool     // of the journal, which only the kernel switches on
}

func args(a ...string) []string { return a }

// Recipes are all kinds. The features are spelled out, since distributions
// differ in their defaults.
var Recipes = []Recipe{
	{Name: "ext2", Size: "400", Args: args("-t", "ext2", "-b", "1024", "-I", "256"), Names: 40},
	{Name: "ext2-inode128", Size: "400", Args: args("-t", "ext2", "-b", "1024", "-I", "128"), Names: 40},
	{Name: "ext2-csum", Size: "400", Args: args("-t", "ext2", "-b", "1024", "-I", "256", "-O", "metadata_csum"), Names: 40},
	{Name: "ext2-deep", Size: "2M", Args: args("-t", "ext2", "-b", "1024", "-I", "128", "-O", "dir_index"), Names: 600, Deep: true},
	{Name: "ext3", Size: "3M", Args: args("-t", "ext3", "-b", "1024", "-I", "256", "-J", "size=1"), Names: 40},
	{Name: "ext4", Size: "3M", Args: ext4("1024", "has_journal", "-J", "size=1"), Names: 40, Sums: true},
	{Name: "ext4-4k", Size: "2M", Args: ext4("4096", ""), Names: 100},
	{Name: "ext4-4k-journal", Size: "10M", Args: ext4("4096", "has_journal", "-J", "size=4"), Names: 100},
	{Name: "ext4-64k", Size: "4M", Args: ext4("65536", "^resize_inode"), Names: 10},
	{Name: "ext4-deep", Size: "2M", Args: ext4("1024", ""), Names: 600, Deep: true},
	{Name: "ext4-deep-no-csum", Size: "2M", Args: ext4("1024", "^metadata_csum,^uninit_bg"), Names: 600, Deep: true},
	{Name: "inode128", Size: "600", Args: ext4("1024", "", "-I", "128"), Names: 40},
	{Name: "inode512", Size: "600", Args: ext4("1024", "", "-I", "512"), Names: 40},
	{Name: "no-csum", Size: "400", Args: ext4("1024", "^metadata_csum,^uninit_bg"), Names: 40},
	{Name: "no-csum-4k", Size: "1M", Args: ext4("4096", "^metadata_csum,^uninit_bg,^resize_inode"), Names: 100},
	{Name: "uninit-bg", Size: "1M", Args: ext4("1024", "^metadata_csum,uninit_bg,^resize_inode", "-g", "256"), Names: 40},
	{Name: "32bit", Size: "400", Args: ext4("1024", "^64bit"), Names: 40},
	{Name: "csum-seed", Size: "400", Args: ext4("1024", "metadata_csum_seed"), Names: 40},
	{Name: "groups", Size: "2M", Args: ext4("1024", "^resize_inode", "-g", "256"), Names: 40},
	{Name: "groups-no-flex", Size: "1M", Args: ext4("1024", "^resize_inode,^flex_bg,^metadata_csum,^uninit_bg", "-g", "256"), Names: 40},
	{Name: "meta-bg", Size: "2M", Args: ext4("1024", "^resize_inode,meta_bg", "-g", "256"), Names: 40},
	{Name: "sparse-super2", Size: "1M", Args: ext4("1024", "^resize_inode,sparse_super2", "-g", "256"), Names: 40},
	{Name: "no-extents", Size: "600", Args: ext4("1024", "^extent,^64bit"), Names: 40},
	{Name: "no-filetype", Size: "400", Args: ext4("1024", "^filetype"), Names: 40},
	{Name: "no-dir-index", Size: "400", Args: ext4("1024", "^dir_index"), Names: 40},
	{Name: "inline-data", Size: "400", Args: ext4("1024", "inline_data"), Names: 40},
	{Name: "inline-data-no-csum", Size: "400", Args: ext4("1024", "inline_data,^metadata_csum,^uninit_bg", "-I", "512"), Names: 40},
	{Name: "large-dir", Size: "1M", Args: ext4("1024", "large_dir"), Names: 300},
	{Name: "orphan-file", Size: "3M", Args: ext4("1024", "has_journal,orphan_file", "-J", "size=1"), Names: 40},
	{Name: "fast-commit", Size: "6M", Args: ext4("1024", "has_journal,fast_commit", "-J", "size=2"), Names: 10},
	{Name: "bigalloc", Size: "2M", Args: ext4("1024", "^resize_inode,bigalloc", "-C", "4096"), Names: 40},
	{Name: "bigalloc-no-csum", Size: "2M", Args: ext4("1024", "^resize_inode,bigalloc,^metadata_csum,^uninit_bg", "-C", "4096"), Names: 40},
	{Name: "bigalloc-4k", Size: "8M", Args: ext4("4096", "bigalloc,quota,ea_inode", "-C", "16384"), Names: 100},
	{Name: "quota", Size: "1M", Args: ext4("1024", "quota"), Names: 40},
	{Name: "quota-no-csum", Size: "1M", Args: ext4("4096", "quota,^metadata_csum,^uninit_bg,^resize_inode"), Names: 40},
	{Name: "project", Size: "1M", Args: ext4("1024", "quota,project"), Names: 40, Extended: "quotatype=usrquota:grpquota:prjquota"},
	{Name: "ea-inode", Size: "1M", Args: ext4("1024", "ea_inode"), Names: 40},
	{Name: "ea-inode-no-csum", Size: "1M", Args: ext4("1024", "ea_inode,^metadata_csum,^uninit_bg"), Names: 40},
	{Name: "mmp", Size: "400", Args: ext4("1024", ""), Names: 40, MMP: true},
	{Name: "gpt", Size: "400", Args: ext4("1024", ""), Names: 40, Disk: true},
}

// ext4 is what mke2fs of today makes of ext4, with blocks of that size and with
// some features more or, after a ^, less.
func ext4(blockSize, features string, more ...string) []string {
	all := "none,64bit,metadata_csum,flex_bg,extent,huge_file,dir_nlink,extra_isize,large_file,dir_index,ext_attr," +
		"resize_inode,filetype,sparse_super"
	if features != "" {
		all += "," + features
	}
	return append(args("-t", "ext4", "-b", blockSize, "-I", "256", "-O", all), more...)
}
