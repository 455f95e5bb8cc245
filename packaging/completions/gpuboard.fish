# fish completion for gpuboard: the command itself knows what can come next
function __gpuboard_complete
    set -lx _GPUBOARD_COMPLETE fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -t)
    for line in (gpuboard 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                echo $parts[2]
            case dir
                __fish_complete_directories (commandline -t)
            case file
                __fish_complete_path (commandline -t)
        end
    end
end
complete --no-files --command gpuboard --arguments "(__gpuboard_complete)"
