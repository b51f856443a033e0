use super::*;

fn text(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn wanted(overlays: &[(&Path, &Path)]) -> Prepare {
    let overlay = |(from, to): &(&Path, &Path)| Overlay {
        from: from.to_path_buf(),
        to: to.to_path_buf(),
    };
    Prepare {
        install: None,
        output: Vec::new(),
        overlay: overlays.iter().map(overlay).collect(),
    }
}

#[test]
fn the_program_is_installed_once() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("bin");
    let prepare = |directory: &Path| {
        prepare(&Prepare {
            install: Some(directory.to_owned()),
            output: Vec::new(),
            overlay: Vec::new(),
        })
    };
    prepare(&directory).unwrap();
    let installed = directory.join("emco-observer");
    assert_eq!(mode(&installed), 0o755);
    assert!(fs::read(&installed).unwrap() == fs::read(PROGRAM).unwrap());
    let made = fs::metadata(&installed).unwrap().modified().unwrap();
    prepare(&directory).unwrap();
    let again = fs::metadata(&installed).unwrap().modified().unwrap();
    assert_eq!(made, again, "it was there");
    // another version, which somebody may be running
    let running = File::open(&installed).unwrap();
    fs::write(directory.join("other"), "#!/bin/true").unwrap();
    fs::rename(directory.join("other"), &installed).unwrap();
    prepare(&directory).unwrap();
    assert!(has_content(running, &installed).unwrap());
    let names = fs::read_dir(&directory).unwrap().count();
    assert_eq!(names, 1, "nothing else is left there");
}

#[test]
fn a_program_that_cannot_be_installed_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let taken = root.path().join("file");
    fs::write(&taken, "").unwrap();
    let wanted = Prepare {
        install: Some(taken.clone()),
        output: vec![taken],
        overlay: Vec::new(),
    };
    let error = prepare(&wanted).unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot install this program as"));
}

#[test]
fn a_directory_for_every_users_output() {
    let root = tempfile::tempdir().unwrap();
    let wanted = Prepare {
        install: None,
        output: vec![root.path().join("a/output"), root.path().to_owned()],
        overlay: Vec::new(),
    };
    for _ in 0..2 {
        prepare(&wanted).unwrap();
        for directory in &wanted.output {
            assert_eq!(mode(directory), 0o1777);
        }
    }
}

#[test]
fn a_configuration_is_laid_over_and_others_are_copied() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let (good, odd, long) = (path("good"), path("odd"), path("long"));
    fs::write(
        &good,
        "{\"zipkin-ip\": \"\", \"zipkin-port\": \"9411\", \"b\": 1}",
    )
    .unwrap();
    fs::write(&odd, "{\"zipkin-ip\": \"\",}\n").unwrap();
    fs::write(&long, vec![b' '; 5 << 20]).unwrap();
    let to = |name: &str| path("overlay").join(name);
    let (good_to, odd_to, long_to, none_to) = (to("good"), to("odd"), to("long"), to("none"));
    let missing = path("missing");
    let wanted = wanted(&[
        (&missing, &none_to),
        (&good, &good_to),
        (&odd, &odd_to),
        (&long, &long_to),
    ]);
    for _ in 0..2 {
        prepare(&wanted).unwrap();
        assert_eq!(
            text(&good_to),
            "{\"zipkin-ip\": \"127.0.0.1\", \"zipkin-port\": \"9411\", \"b\": 1}"
        );
        assert_eq!(text(&odd_to), text(&odd));
        assert_eq!(fs::metadata(&long_to).unwrap().len(), 5 << 20);
        assert!(!none_to.try_exists().unwrap());
        assert_eq!(mode(&good_to), 0o644);
    }
}

#[test]
fn a_configuration_that_can_be_neither_changed_nor_copied_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::write(path("good"), "{}").unwrap();
    fs::create_dir(path("directory")).unwrap();
    let fine = path("fine");
    for (from, to) in [("directory", "to"), ("good", "good/to")] {
        let (from, to) = (path(from), path(to));
        let wanted = wanted(&[(&from, &to), (&path("good"), &fine)]);
        assert!(prepare(&wanted).is_err());
        assert_eq!(mode(&fine), 0o644, "the others are made all the same");
        fs::remove_file(&fine).unwrap();
    }
}

#[test]
fn an_overlay_is_two_paths() {
    assert_eq!(
        "/a/b:/c".parse(),
        Ok(Overlay {
            from: "/a/b".into(),
            to: "/c".into()
        })
    );
    for text in ["", ":", "/a", "/a:", ":/b"] {
        assert!(text.parse::<Overlay>().is_err());
    }
}
