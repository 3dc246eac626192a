# Completion of pipelined for fish:
#   pipelined completion fish > ~/.config/fish/completions/pipelined.fish

function __pipelined_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    string match -q -- '-*' $current; and set -a words $current
    set -l found ($words --generate-shell-completion 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path $current
    end
end

complete -c pipelined -e
complete -c pipelined -f -k -a '(__pipelined_complete)'
