"""Print the folder of the shipped tasks, for `lm_eval --include_path "$(python -m frailt.tasks)"`."""

from frailt.tasks import FOLDER

if __name__ == "__main__":
    print(FOLDER)
