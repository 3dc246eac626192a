# engine
# kill
# rules: container 7 s24
# run: succeeded
# make: succeeded
# log make: ls is of busybox
# log make: here is x of make
# log make: writes to HOME and TMPDIR
# look: succeeded
# log look: root made it
# log look: 42 from make
# each[a]: succeeded
# log each[a]: a
# each[b]: succeeded
# log each[b]: b
pipeline "container" {
  workspace {
    exclude = ["**"]
  }
  env = { X = "x" }

  module "make" {
    image   = "test/busybox:1"
    outputs = ["out/*"]
    script  = <<-EOT
      echo "ls is of $(readlink /bin/ls)"
      [ "$PWD" = "$PIPELINED_WORKSPACE" ]
      echo "here is $X of $PIPELINED_MODULE"
      touch "$HOME/a" "$TMPDIR/b" && echo "writes to HOME and TMPDIR"
      mkdir out && echo made > out/it
      echo "answer=42" >> "$PIPELINED_OUTPUT"
    EOT
  }

  module "look" {
    script = <<-EOT
      [ "$(stat -c %u out/it)" = "$(id -u)" ] && echo "root made it"
      echo "${module.make.result.answer} from make"
    EOT
  }

  module "each" {
    matrix  = { name = ["a", "b"] }
    image   = "test/busybox:${matrix.name == "" ? 2 : 1}"
    command = ["echo", matrix.name]
  }
}
