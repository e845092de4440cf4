//! What a Rust program may want of its machine, one deed each: named by its first argument.
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process::exit;
use std::time::{Duration, Instant};

fn echo() -> i32 {
    let mut data = Vec::new();
    io::stdin().read_to_end(&mut data).unwrap();
    io::stdout().write_all(&data).unwrap();
    7
}

fn compute() -> i32 {
    let mut sums: HashMap<String, f64> = HashMap::new(); // seeded from the machine's chance
    for i in 0..100_000 {
        *sums.entry(format!("key {}", i % 97)).or_default() += f64::from(i) / 3.0;
    }
    println!("{} {:.6}", sums.len(), sums["key 11"]);
    0
}

fn rest() -> i32 {
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    let rested = before.elapsed() >= Duration::from_millis(20);
    println!("{}", if rested { "rested" } else { "no rest" });
    0
}

fn memory() -> i32 {
    let mut kept = Vec::new();
    for i in 0..300usize {
        let piece = vec![i as u8; 1 << 20];
        if i % 3 == 0 {
            kept.push(piece);
        }
    }
    println!("{} MiB", kept.len());
    0
}

fn hog() -> i32 {
    let mut kept = Vec::new();
    while kept.len() < usize::MAX {
        kept.push(vec![1u8; 1 << 20]);
    }
    9
}

fn file() -> i32 {
    let opened = std::fs::File::open("/etc/passwd").is_ok();
    println!("{}", if opened { "a file" } else { "no file" });
    i32::from(opened)
}

fn panics() -> i32 {
    let values: Vec<i32> = Vec::new();
    let place = std::env::args().count(); // not known before
    values[place]
}

#[cfg(not(target_arch = "wasm32"))]
mod unix {
    use std::sync::{mpsc, Arc, Mutex};

    pub fn threads() -> i32 {
        let sum = Arc::new(Mutex::new(0));
        let made: Vec<_> = (0..4)
            .map(|_| {
                let sum = Arc::clone(&sum);
                std::thread::spawn(move || (0..20_000).for_each(|_| *sum.lock().unwrap() += 1))
            })
            .collect();
        made.into_iter().for_each(|thread| thread.join().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send("sent")).join().unwrap().unwrap();
        println!("{} {}", sum.lock().unwrap(), receiver.recv().unwrap());
        0
    }

    pub fn unwinds() -> i32 {
        let caught = std::panic::catch_unwind(|| panic!("in here"));
        let joined = std::thread::spawn(|| panic!("in there")).join();
        println!("{} {}", caught.is_err(), joined.is_err());
        0
    }

    extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    }
    static ASKED: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    extern "C" fn ask(number: i32) {
        ASKED.store(number, std::sync::atomic::Ordering::SeqCst);
    }

    pub fn quit() -> i32 {
        unsafe { signal(3, ask) };
        println!("ready");
        while ASKED.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        println!("finished in time");
        5
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let deed = words.get(1).map_or("", |word| word.as_str());
    exit(match deed {
        "echo" => echo(),
        "compute" => compute(),
        "rest" => rest(),
        "memory" => memory(),
        "hog" => hog(),
        "file" => file(),
        "panics" => panics(),
        #[cfg(not(target_arch = "wasm32"))]
        "threads" => unix::threads(),
        #[cfg(not(target_arch = "wasm32"))]
        "unwinds" => unix::unwinds(),
        #[cfg(not(target_arch = "wasm32"))]
        "quit" => unix::quit(),
        _ => {
            eprintln!("{} arguments, the last is {}", words.len(), words.last().unwrap());
            println!("hello");
            3
        }
    });
}
